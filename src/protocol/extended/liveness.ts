import { KEEP_ALIVE_MS, KEEP_ALIVES_PER_TIMEOUT, LEGACY_SILENCE_TIMEOUT_MS } from "./options.js";

const NEVER: number = Number.POSITIVE_INFINITY;

/** When the peer was heard last, and when it is to be asked for a sign of life. */
export class Liveness {
  /** Asks a silent peer after so many ms, 0 for never. */
  keepAliveMs: number = KEEP_ALIVE_MS;
  /** A peer that says nothing for so long is given up. */
  silenceTimeoutMs: number;
  #heardAt: number;
  #askedAt: number;
  /** How often it has been asked in vain. */
  #asks = 0;

  /** A peer that does not tell its own silence timeout has that of the first versions. */
  constructor(now: number, silenceTimeoutMs: number) {
    this.#heardAt = this.#askedAt = now;
    this.silenceTimeoutMs = Math.min(silenceTimeoutMs, LEGACY_SILENCE_TIMEOUT_MS);
  }

  /** When the peer is given up. */
  get silentAt(): number {
    return this.#heardAt + this.silenceTimeoutMs;
  }

  /** The peer has something to answer again: its silence counts from now. */
  restart(now: number): void {
    this.#heardAt = now;
  }

  /** `inVain`: it was heard, but what is being asked for, an acknowledgement or room in its window, is still missing. */
  onHeard(inVain: boolean, now: number): void {
    this.#heardAt = now;
    if (!inVain) this.#asks = 0;
  }

  onAsked(now: number): void {
    this.#askedAt = now;
    this.#asks++;
  }

  /**
   * When to ask next. An introduction may have been lost, and is repeated; so may be a reader's word that there is room
   * again; both are asked for ever less often (RFC 9293 section 3.8.6.1).
   */
  askAt(introducing: boolean, windowIsClosed: boolean, timeoutMs: number): number {
    const since = Math.max(this.#heardAt, this.#askedAt);
    const mostMs = this.silenceTimeoutMs / KEEP_ALIVES_PER_TIMEOUT;
    const keepAliveMs = Math.min(this.keepAliveMs, mostMs);
    if (introducing || windowIsClosed) {
      return since + Math.min(KEEP_ALIVE_MS, mostMs, timeoutMs * 2 ** this.#asks);
    }
    if (keepAliveMs <= 0) return NEVER;
    // It is heard, but answers late: its answer waits behind its data.
    const late = this.#asks > 0 && this.#heardAt > this.#askedAt;
    return since + (late ? mostMs : keepAliveMs);
  }
}
