import { HANDSHAKE_BUCKETS, MAX_CONNECTION_ID, MAX_SPENT_COOKIES } from "../limits.js";
import { PROOF_BITS } from "./wire.js";

/** Cookies are computed from the time in slots of this length, and are good for the first {@link GRACE_MS} of the next one too. */
const SLOT_MS = 16_000;
const GRACE_MS = 12_000;
/** An address that has been quiet may begin so many seconds' worth of handshakes at once. */
const BURST_SECONDS = 4;

/** A plain SYN so soon after one with the offer is its repetition: a client takes turns while it hears nothing. */
const OFFER_MS = 2000;

/**
 * A keyed hash of a text, which fills up to eight words of 32 bits: whoever does not know the key cannot tell them from random
 * numbers.
 */
export type Mac = (text: string, words: Uint32Array) => void;

/** What a SYN|ACK has of a cookie: 61 bits. One record is reused: keep none of it by reference. */
export interface Cookie {
  /** The server's tag: 32 bits. */
  tag: number;
  /** 16 bits, not 0. */
  connectionId: number;
  /** The 13 bits that the classic edition does not use, at their place in the last word. */
  proof: number;
}

/**
 * Handshakes that need no memory (as SYN cookies do, RFC 4987 section 3.6): the tag, the connection ID and the unused bits of a
 * SYN|ACK are computed from the address that it goes to, the SYN's nonce and the time, so that a client which sends them back has
 * proved to be there. The only memory is of fixed size: when which addresses may go on, and the tags whose connections have just
 * ended.
 */
export class Cookies {
  readonly #mac: Mac;
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  /** For each bucket of addresses the time by which its handshakes so far are paid for (GCRA, a token bucket in one number). */
  readonly #paidAt = new Float64Array(HANDSHAKE_BUCKETS);
  /** Who has offered last, with which nonce, and when, in as many places as there are buckets. */
  readonly #offers = new Uint32Array(HANDSHAKE_BUCKETS);
  readonly #nonces = new Uint32Array(HANDSHAKE_BUCKETS);
  readonly #offeredAt = new Float64Array(HANDSHAKE_BUCKETS).fill(Number.NEGATIVE_INFINITY);
  /** Until when a tag that had its connection would still be good, oldest first. */
  readonly #spent = new Map<number, number>();
  readonly #words = new Uint32Array(3);
  readonly #cookie: Cookie = { tag: 0, connectionId: 0, proof: 0 };

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
    return this.#hash(network(address)) % HANDSHAKE_BUCKETS;
  }

  /**
   * The nonce of a SYN that is to be answered with this edition: it offers it, or an earlier one of this client did. Null: it is a
   * classic one.
   */
  offeredNonce(offers: boolean, nonce: number, address: string, port: number, now: number): number | null {
    const hash = this.#hash(`${address} ${port}`);
    const place = hash % HANDSHAKE_BUCKETS;
    if (offers) {
      this.#offers[place] = hash;
      this.#nonces[place] = nonce;
      this.#offeredAt[place] = now;
      return nonce;
    }
    const isKnown = this.#offers[place] === hash && now < (this.#offeredAt[place] as number) + OFFER_MS;
    return isKnown ? (this.#nonces[place] as number) : null;
  }

  /** The cookie for a client that has sent a SYN. A SYN that comes again soon gets the same. */
  issue(address: string, port: number, nonce: number, now: number): Readonly<Cookie> {
    return this.#compute(address, port, nonce, Math.floor(now / SLOT_MS));
  }

  /** Whether it is a cookie that this address was given not long ago, and that has not had its connection. */
  isGood(cookie: Readonly<Cookie>, address: string, port: number, nonce: number, now: number): boolean {
    const slot = Math.floor(now / SLOT_MS);
    const isGood =
      isSame(this.#compute(address, port, nonce, slot), cookie) ||
      (now < slot * SLOT_MS + GRACE_MS && isSame(this.#compute(address, port, nonce, slot - 1), cookie));
    return isGood && now >= (this.#spent.get(spentKey(cookie.tag, cookie.connectionId)) ?? 0);
  }

  /** The tag's connection is over: what the network has doubled must not begin it again. */
  spend(tag: number, connectionId: number, now: number): void {
    for (const [key, until] of this.#spent) {
      if (until > now && this.#spent.size < MAX_SPENT_COOKIES) break;
      this.#spent.delete(key);
    }
    this.#spent.set(spentKey(tag, connectionId), now + SLOT_MS + GRACE_MS);
  }

  #compute(address: string, port: number, nonce: number, slot: number): Readonly<Cookie> {
    const words = this.#words;
    this.#mac(`${address} ${port} ${nonce} ${slot}`, words);
    const [tag, ids, proof] = words as unknown as readonly [number, number, number];
    const cookie = this.#cookie;
    cookie.tag = tag;
    cookie.connectionId = ids & MAX_CONNECTION_ID || ids >>> 16 || 1;
    cookie.proof = proof & PROOF_BITS;
    return cookie;
  }

  #hash(text: string): number {
    this.#mac(text, this.#words);
    return this.#words[0] as number;
  }
}

function isSame(one: Readonly<Cookie>, other: Readonly<Cookie>): boolean {
  return one.tag === other.tag && one.connectionId === other.connectionId && one.proof === other.proof;
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
