import { invariant } from "../invariant/index.js";
import type { ShortSegments } from "./connection.js";
import type { Memory } from "./memory.js";
import { SendBuffer } from "./send-buffer.js";

/**
 * How far sending has come, as positions: 0 is our SYN, data from 1 on, our FIN behind it (RFC 9293 section 3.3.1 names
 * them).
 */
export class SendWindow {
  readonly buffer: SendBuffer;
  /** The first position not acknowledged. */
  sndUna = 0;
  /** The next position to send; a timeout takes it back. */
  sndNxt = 0;
  /** Behind the highest position ever sent: what lies before it is a retransmission. */
  sndMax = 0;
  /** After a timeout only the first segment is sent again, until something new is acknowledged. */
  #resendFirstOnly = false;

  constructor(memory: Memory) {
    this.buffer = new SendBuffer(memory);
  }

  /** Position behind the last byte written, and of the FIN. */
  get dataEnd(): number {
    return this.buffer.end + 1;
  }

  /** Data bytes sent and not acknowledged. */
  get bytesInFlight(): number {
    return Math.max(0, Math.min(this.sndNxt, this.dataEnd) - Math.max(this.sndUna, 1));
  }

  /** Length of the segment to send next, 0 for none now. `ended`: nothing more will be written. */
  nextSegmentLength(segmentBytes: number, cwnd: number, ended: boolean, shortSegments: ShortSegments): number {
    const available = this.dataEnd - this.sndNxt;
    if (available <= 0) return 0;
    if (this.#resendFirstOnly && this.sndNxt > this.sndUna) return 0;
    const inFlight = this.sndNxt - this.sndUna;
    const length = Math.min(available, segmentBytes);
    if (inFlight + length > cwnd) return 0;
    if (length === segmentBytes || ended || this.sndNxt < this.sndMax) return length;
    if (shortSegments === "immediate" || (shortSegments === "nagle" && inFlight === 0)) return length;
    return 0;
  }

  /** Everything before `position` has now been sent. */
  sentUpTo(position: number): void {
    this.sndNxt = position;
    if (this.sndMax < position) this.sndMax = position;
    if (CONFUNDO_ASSERTIONS) this.#check();
  }

  /** Takes a cumulative acknowledgement of something new; returns how many data bytes it covers. */
  acknowledge(position: number): number {
    const before = Math.max(this.sndUna, 1);
    const dataUpTo = Math.min(position, this.dataEnd);
    this.buffer.release(dataUpTo - 1);
    this.sndUna = position;
    if (this.sndNxt < position) this.sndNxt = position;
    if (this.sndMax < position) this.sndMax = position;
    this.#resendFirstOnly = false;
    if (CONFUNDO_ASSERTIONS) this.#check();
    return dataUpTo - before;
  }

  #check(): void {
    if (!CONFUNDO_ASSERTIONS) return;
    const { sndUna, sndNxt, sndMax, dataEnd } = this;
    invariant(sndUna <= sndNxt && sndNxt <= sndMax, `SND.UNA ${sndUna}, SND.NXT ${sndNxt}, and at most ${sndMax} sent`);
    // The FIN is one behind the data.
    invariant(sndMax <= dataEnd + 1, `${sndMax} was sent of ${dataEnd}`);
  }

  /** Back to the first unacknowledged segment. */
  goBack(): void {
    this.sndNxt = this.sndUna;
    this.#resendFirstOnly = true;
  }
}
