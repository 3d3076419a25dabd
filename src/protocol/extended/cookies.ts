import { HANDSHAKE_BUCKETS, MAX_SPENT_COOKIES } from "../limits.js";

/** Tags are computed from the time in slots of this length, and are good until three slots later: 12 to 16 s. */
const SLOT_MS = 4000;
/** How many slots a tag's lowest two bits tell apart. */
const SLOTS = 4;
/** An address that has been quiet may begin so many seconds' worth of handshakes at once. */
const BURST_SECONDS = 4;

/** A plain SYN so soon after one with the offer is its repetition: a client takes turns while it hears nothing. */
const OFFER_MS = 2000;

/** A keyed hash of a text into [0, 2^32): whoever does not know the key cannot tell it from random numbers. */
export type Mac = (text: string) => number;

/**
 * Handshakes that need no memory (as SYN cookies do, RFC 4987 section 3.6): the tag in a SYN|ACK is computed from the address
 * that it goes to, the connection's ID and the time, so that a client which sends it back has proved to be there. The only
 * memory is of fixed size: when which addresses may go on, and the tags whose connections have just ended.
 */
export class Cookies {
  readonly #mac: Mac;
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  /** For each bucket of addresses the time by which its handshakes so far are paid for (GCRA, a token bucket in one number). */
  readonly #paidAt = new Float64Array(HANDSHAKE_BUCKETS);
  /** Who has offered last, and when, in as many places as there are buckets. */
  readonly #offers = new Uint32Array(HANDSHAKE_BUCKETS);
  readonly #offeredAt = new Float64Array(HANDSHAKE_BUCKETS).fill(Number.NEGATIVE_INFINITY);
  /** Until when a tag that had its connection would still be good, oldest first. */
  readonly #spent = new Map<number, number>();

  /** `handshakesPerSecond`: what one address may begin in the long run without finishing it. */
  constructor(mac: Mac, handshakesPerSecond: number) {
    this.#mac = mac;
    this.#intervalMs = 1000 / handshakesPerSecond;
    this.#toleranceMs = 1000 * BURST_SECONDS;
  }

  /** Whether another SYN of this address is to be answered. It counts until {@link verified}. Its bucket is a matter of the key: nobody can aim at another's. */
  admits(address: string, now: number): boolean {
    const bucket = this.#bucketOf(address);
    const paidAt = Math.max(this.#paidAt[bucket] as number, now) + this.#intervalMs;
    if (paidAt - now > this.#toleranceMs) return false;
    this.#paidAt[bucket] = paidAt;
    return true;
  }

  /** A client at this address has proved to be there: its SYN does not count, as a flood's do. */
  verified(address: string): void {
    const bucket = this.#bucketOf(address);
    this.#paidAt[bucket] = (this.#paidAt[bucket] as number) - this.#intervalMs;
  }

  #bucketOf(address: string): number {
    return this.#mac(network(address)) % HANDSHAKE_BUCKETS;
  }

  /** Whether a SYN is to be answered with this edition: it offers it, or an earlier one of this client did. */
  isOffered(offers: boolean, address: string, port: number, now: number): boolean {
    const hash = this.#mac(`${address} ${port}`);
    const place = hash % HANDSHAKE_BUCKETS;
    if (!offers) return this.#offers[place] === hash && now < (this.#offeredAt[place] as number) + OFFER_MS;
    this.#offers[place] = hash;
    this.#offeredAt[place] = now;
    return true;
  }

  /** The tag for a client that has sent a SYN. */
  tag(address: string, port: number, connectionId: number, now: number): number {
    return this.#tagOf(address, port, connectionId, Math.floor(now / SLOT_MS));
  }

  /** Whether it is a tag that this address was given not long ago, and that has not had its connection. */
  isGood(tag: number, address: string, port: number, connectionId: number, now: number): boolean {
    const slot = Math.floor(now / SLOT_MS);
    const age = (slot - tag) & (SLOTS - 1);
    if (this.#tagOf(address, port, connectionId, slot - age) !== tag) return false;
    return now >= (this.#spent.get(spentKey(tag, connectionId)) ?? 0);
  }

  /** The tag's connection is over: what the network has doubled must not begin it again. */
  spend(tag: number, connectionId: number, now: number): void {
    for (const [key, until] of this.#spent) {
      if (until > now && this.#spent.size < MAX_SPENT_COOKIES) break;
      this.#spent.delete(key);
    }
    this.#spent.set(spentKey(tag, connectionId), now + SLOTS * SLOT_MS);
  }

  /** The two bits of the slot save a check from trying four; a guess is as likely to be right as with 32 bits and four tries. */
  #tagOf(address: string, port: number, connectionId: number, slot: number): number {
    const hash = this.#mac(`${address} ${port} ${connectionId} ${slot}`);
    return ((hash & ~(SLOTS - 1)) | (slot & (SLOTS - 1))) >>> 0;
  }
}

function spentKey(tag: number, connectionId: number): number {
  return tag * 0x1_0000 + connectionId;
}

/** What one host can send from: an IPv4 address, or the 64 bits in front of an IPv6 one. */
function network(address: string): string {
  if (!address.includes(":") || address.includes(".")) return address;
  const [head = "", tail = ""] = address.split("::");
  const front = head.split(":");
  const back = tail === "" ? [] : tail.split(":");
  const zeros = Math.max(0, 8 - front.length - back.length);
  return [...front, ...new Array<string>(zeros).fill("0"), ...back].slice(0, 4).join(":");
}
