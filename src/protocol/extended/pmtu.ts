import { BASE_DATAGRAM_BYTES } from "../limits.js";

const NEVER: number = Number.POSITIVE_INFINITY;

/** Sizes of UDP payload that many paths end at: jumbo frames, Ethernet over IPv4 and IPv6, tunnels, IPv6's least. */
const LIKELY_BYTES = [8972, 8952, 1472, 1452, 1432, 1372, 1280] as const;
/** A probe that is not answered so often is too long (RFC 8899 section 5.1.2 MAX_PROBES). */
const MAX_PROBES = 3;
/** The search ends when what is left to find is less than this. */
const GOOD_ENOUGH_BYTES = 32;
/** A path may have got wider since (RFC 8899 section 5.1.1 PMTU_RAISE_TIMER). */
const RAISE_AFTER_MS = 600_000;
/** After the path got narrower, the search is not begun again at once. */
const RETRY_AFTER_MS = 60_000;

/**
 * Datagram packetization layer path MTU discovery (RFC 8899): finds by probing which datagrams a path carries. Sizes are
 * bytes of UDP payload.
 */
export class PathMtu {
  /** Datagrams of this size are known to arrive. */
  currentBytes: number = BASE_DATAGRAM_BYTES;
  /** When there is something to do, Infinity for never. */
  timerAt: number = NEVER;
  #maxBytes: number;
  /** The least size that is known, or taken, not to arrive. */
  #tooLong: number;
  #probing = 0;
  #probes = 0;
  #searching = false;

  constructor(maxBytes: number) {
    this.#maxBytes = Math.max(BASE_DATAGRAM_BYTES, maxBytes);
    this.#tooLong = this.#maxBytes + 1;
  }

  /** Begins the search, when the connection is there. */
  start(): void {
    this.#searching = this.#maxBytes > this.currentBytes;
    this.#tooLong = this.#maxBytes + 1;
    this.#next();
  }

  /** The size of the probe that is to be sent now, 0 for none. */
  get dueBytes(): number {
    return this.#searching && this.timerAt === NEVER ? this.#probing : 0;
  }

  onProbeSent(timeoutMs: number, now: number): void {
    this.#probes++;
    this.timerAt = now + timeoutMs;
  }

  /** True: longer datagrams may be sent from now on. */
  onProbeArrived(bytes: number, now: number): boolean {
    if (bytes <= this.currentBytes || bytes > this.#maxBytes) return false;
    this.currentBytes = bytes;
    this.timerAt = NEVER;
    if (bytes >= this.#tooLong) this.#tooLong = this.#maxBytes + 1;
    this.#next(now);
    return true;
  }

  expire(now: number): void {
    if (this.timerAt > now) return;
    this.timerAt = NEVER;
    if (!this.#searching) this.start();
    else if (this.#probes >= MAX_PROBES) {
      this.#tooLong = this.#probing;
      this.#next(now);
    }
  }

  /** What used to arrive does not any more (RFC 8899 section 4.3): back to what every path carries. */
  onBlackHole(now: number): boolean {
    if (this.currentBytes === BASE_DATAGRAM_BYTES) return false;
    this.currentBytes = BASE_DATAGRAM_BYTES;
    this.#searching = false;
    this.timerAt = now + RETRY_AFTER_MS;
    return true;
  }

  /** Another path: everything is open again. */
  onNewPath(maxBytes: number): void {
    this.#maxBytes = Math.max(BASE_DATAGRAM_BYTES, maxBytes);
    this.currentBytes = BASE_DATAGRAM_BYTES;
    this.timerAt = NEVER;
    this.start();
  }

  /** The longest first, as the interface usually tells the truth; then what is likely; then halving. */
  #next(now = 0): void {
    const low = this.currentBytes;
    const high = this.#tooLong;
    this.#probes = 0;
    if (high > this.#maxBytes && low < this.#maxBytes) this.#probing = this.#maxBytes;
    else if (high - low <= GOOD_ENOUGH_BYTES) {
      this.#searching = false;
      this.timerAt = low < this.#maxBytes ? now + RAISE_AFTER_MS : NEVER;
    } else this.#probing = LIKELY_BYTES.find((bytes) => bytes > low && bytes < high) ?? (low + high) >> 1;
  }
}
