/**
 * Lets newcomers in as fast as the process can carry them: a handshake costs some milliseconds, and a thousand clients that come
 * back at once must not keep those waiting that are in.
 */
import { ADMISSION_EVERY_MS, ADMISSION_WAIT_MS, BUSY_LOOP_DELAY_MS, LEAST_ADMISSION_MS } from "./limits.js";

export interface AdmissionOptions {
  /** The mean delay of the event loop, in milliseconds, see {@link LoopDelay}. */
  readonly delayMs: () => number;
  /** Called when one is turned away. */
  readonly onRefused: () => void;
}

interface Waiting {
  readonly since: number;
  readonly settle: (admitted: boolean) => void;
}

export class Admission {
  readonly #options: AdmissionOptions;
  /** In the order in which they came. */
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #admittedAt = Number.NEGATIVE_INFINITY;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Newcomers that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Resolves to whether the newcomer may go on; it may not after {@link ADMISSION_WAIT_MS}, when it is to come back later. */
  enter(): Promise<boolean> | true {
    if (this.#waiting.length === 0 && !this.#isBusy()) {
      this.#admittedAt = performance.now();
      return true;
    }
    this.#timer ??= setInterval(() => this.#look(), ADMISSION_EVERY_MS);
    return new Promise((resolve) => this.#waiting.push({ since: performance.now(), settle: resolve }));
  }

  /** Turns all away. */
  close(): void {
    for (const { settle } of this.#waiting.splice(0)) settle(false);
    this.#stop();
  }

  /** At least some get in, however busy it is. */
  #look(): void {
    const now = performance.now();
    while (this.#waiting[0] !== undefined && now - this.#waiting[0].since >= ADMISSION_WAIT_MS) {
      this.#waiting.shift()?.settle(false);
      this.#options.onRefused();
    }
    if (!this.#isBusy() || now - this.#admittedAt >= LEAST_ADMISSION_MS) {
      this.#admittedAt = now;
      this.#waiting.shift()?.settle(true);
    }
    if (this.#waiting.length === 0) this.#stop();
  }

  #isBusy(): boolean {
    return this.#options.delayMs() > BUSY_LOOP_DELAY_MS;
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
