import { BASE_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES } from "../limits.js";

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
/** Where datagrams of the least size may not arrive, so many of them are tried before that is believed. */
const MAX_LEAST_PROBES = 10;
/** Shorter datagrams arrive wherever any do. */
const SHORT_BYTES = 256;
/** Timeouts in a row from which on the path may have become narrower: above the base size, at it, and at the least one. */
const TIMEOUTS_ABOVE_BASE = 2;
const TIMEOUTS_AT_BASE = 3;
const TIMEOUTS_AT_LEAST = 5;

/**
 * Datagram packetization layer path MTU discovery (RFC 8899): finds by probing which datagrams a path carries. Sizes are
 * bytes of UDP payload.
 */
export class PathMtu {
  /** Datagrams of this size are known, or taken, to arrive. */
  currentBytes: number;
  /** When there is something to do, Infinity for never. */
  timerAt: number = NEVER;
  /** Not even datagrams of {@link MIN_DATAGRAM_BYTES} arrive, or leave this machine. */
  isTooNarrow: boolean;
  /** It is being tried whether datagrams of the least size arrive. */
  isTryingLeast = false;
  /** The longest that this side wants to send, and the longest that is searched for now. */
  #wantedBytes: number;
  #maxBytes: number;
  /** The least size that is known, or taken, not to arrive. */
  #tooLong: number;
  #probing = 0;
  #probes = 0;
  #searching = false;

  constructor(maxBytes: number) {
    this.isTooNarrow = maxBytes < MIN_DATAGRAM_BYTES;
    this.#wantedBytes = this.#maxBytes = Math.max(MIN_DATAGRAM_BYTES, maxBytes);
    this.#tooLong = this.#maxBytes + 1;
    this.currentBytes = this.#baseBytes;
  }

  /** The size that is taken to arrive until it is known better. */
  get #baseBytes(): number {
    return Math.min(BASE_DATAGRAM_BYTES, this.#maxBytes);
  }

  /** Begins the search, when the connection is there. */
  start(): void {
    this.#maxBytes = this.#wantedBytes;
    this.#searching = this.#maxBytes > this.currentBytes;
    this.#tooLong = this.#maxBytes + 1;
    this.#next();
  }

  /** The size of the probe that is to be sent now, 0 for none. */
  get dueBytes(): number {
    if (this.timerAt !== NEVER) return 0;
    if (this.isTryingLeast) return MIN_DATAGRAM_BYTES;
    return this.#searching ? this.#probing : 0;
  }

  /** The search is for what is usually taken for granted: it does not wait until much was sent. */
  get isUrgent(): boolean {
    return this.isTryingLeast || this.currentBytes < this.#baseBytes;
  }

  /** The timeouts in a row from which on {@link onBlackHole} is to be called, at each. Infinity: it is not for the length. */
  timeoutsToSuspect(missingBytes: number): number {
    if (missingBytes > this.#baseBytes) return TIMEOUTS_ABOVE_BASE;
    if (missingBytes > MIN_DATAGRAM_BYTES) return TIMEOUTS_AT_BASE;
    return missingBytes > SHORT_BYTES ? TIMEOUTS_AT_LEAST : NEVER;
  }

  onProbeSent(timeoutMs: number, now: number): void {
    this.#probes++;
    this.timerAt = now + timeoutMs;
  }

  /** True: longer datagrams may be sent from now on. */
  onProbeArrived(bytes: number, now: number): boolean {
    if (this.isTryingLeast && bytes >= MIN_DATAGRAM_BYTES) this.#resume(now);
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
    if (this.isTryingLeast) {
      if (this.#probes < MAX_LEAST_PROBES) return;
      this.isTooNarrow = true;
      this.#resume(now);
    } else if (!this.#searching) this.start();
    else if (this.#probes >= MAX_PROBES) {
      this.#tooLong = this.#probing;
      this.#next(now);
    }
  }

  /**
   * A datagram of `missingBytes` that used to arrive does not any more (RFC 8899 section 4.3): back to the base size; where it is
   * not longer than that to the least one, with a search for what lies between; and at the least one it is tried whether the
   * path carries even that. True: the size has changed.
   */
  onBlackHole(missingBytes: number, now: number): boolean {
    if (missingBytes > this.#baseBytes) {
      if (this.currentBytes <= this.#baseBytes) return false;
      this.currentBytes = this.#baseBytes;
      this.#searching = false;
      this.timerAt = now + RETRY_AFTER_MS;
      return true;
    }
    if (this.currentBytes > MIN_DATAGRAM_BYTES && missingBytes > MIN_DATAGRAM_BYTES) {
      this.#maxBytes = this.#baseBytes;
      this.#fallTo(MIN_DATAGRAM_BYTES, now);
      return true;
    }
    if (this.currentBytes > MIN_DATAGRAM_BYTES || missingBytes <= SHORT_BYTES || this.isTryingLeast) return false;
    this.isTryingLeast = true;
    this.#probes = 0;
    this.timerAt = NEVER;
    return false;
  }

  /**
   * This machine does not send datagrams of `bytes` or more to the peer; `limitBytes`, below that, is the longest that it may
   * send, 0 where that is not known. True: the size has changed.
   */
  onRefused(bytes: number, limitBytes: number, now: number): boolean {
    if (limitBytes > 0 && limitBytes < MIN_DATAGRAM_BYTES) this.isTooNarrow = true;
    const known = limitBytes > 0 ? limitBytes : bytes - 1;
    this.#maxBytes = Math.max(MIN_DATAGRAM_BYTES, Math.min(this.#maxBytes, known));
    const size = this.currentBytes < bytes ? this.currentBytes : limitBytes > 0 ? this.#maxBytes : MIN_DATAGRAM_BYTES;
    const changes = size < this.currentBytes;
    this.#fallTo(Math.min(size, this.currentBytes), now);
    return changes;
  }

  /** Another path: everything is open again. */
  onNewPath(maxBytes: number): void {
    this.isTooNarrow = maxBytes < MIN_DATAGRAM_BYTES;
    this.isTryingLeast = false;
    this.#wantedBytes = this.#maxBytes = Math.max(MIN_DATAGRAM_BYTES, maxBytes);
    this.currentBytes = this.#baseBytes;
    this.timerAt = NEVER;
    this.start();
  }

  #fallTo(bytes: number, now: number): void {
    this.currentBytes = bytes;
    this.#tooLong = this.#maxBytes + 1;
    this.isTryingLeast = false;
    this.#resume(now);
  }

  #resume(now: number): void {
    this.isTryingLeast = false;
    this.timerAt = NEVER;
    this.#searching = true;
    this.#next(now);
  }

  /** The longest first, as the interface usually tells the truth; then what is likely; then halving. */
  #next(now = 0): void {
    const low = this.currentBytes;
    const high = this.#tooLong;
    this.#probes = 0;
    if (high > this.#maxBytes && low < this.#maxBytes) this.#probing = this.#maxBytes;
    else if (high - low <= GOOD_ENOUGH_BYTES) {
      this.#searching = false;
      const raiseMs = this.#maxBytes < this.#wantedBytes ? RETRY_AFTER_MS : RAISE_AFTER_MS;
      this.timerAt = low < this.#wantedBytes ? now + raiseMs : NEVER;
    } else this.#probing = LIKELY_BYTES.find((bytes) => bytes > low && bytes < high) ?? (low + high) >> 1;
  }
}
