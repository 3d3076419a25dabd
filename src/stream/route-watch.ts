import type { Clock, Timer } from "./clock.js";

/** What is sent goes unanswered for so long before the route is looked at, and it is looked at again so often. */
const UNANSWERED_MS = 300;
const LOOK_EVERY_MS = 250;
/** Who receives this much has nothing to send but acknowledgements: a stop is noticed by a timer. */
const BULK_BYTES = 16 * 1024;
const STOPPED_MS = 400;
/** So many looks at a stopped stream; after that what is sent, if only a sign of life, must go unanswered. */
const MOST_LOOKS = 20;

/**
 * Notices that a path may be gone, as when the machine has got another address (DHCP, another network, a VPN): what is sent
 * goes unanswered, or what was coming stops. `look` is called then, and again until something arrives.
 */
export class RouteWatch {
  readonly #clock: Clock;
  readonly #look: () => void;
  #unansweredSince = Number.POSITIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #receivedBytes = 0;
  #looks = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock, look: () => void) {
    this.#clock = clock;
    this.#look = look;
  }

  onSent(now: number): void {
    if (this.#unansweredSince === Number.POSITIVE_INFINITY) this.#unansweredSince = now;
    else if (now - this.#unansweredSince >= UNANSWERED_MS) this.#lookNow(now);
  }

  onReceived(bytes: number): void {
    this.#unansweredSince = Number.POSITIVE_INFINITY;
    this.#looks = 0;
    this.#receivedBytes += bytes;
    if (this.#timer !== null || this.#receivedBytes < BULK_BYTES) return;
    this.#timer = this.#clock.setTimer(() => this.#onTimer(), STOPPED_MS);
    this.#timer.unref();
  }

  /** The kernel has refused to send in a way that a lost address explains. */
  onRefused(now: number): void {
    this.#lookNow(now);
  }

  close(): void {
    this.#timer?.close();
    this.#timer = null;
  }

  #onTimer(): void {
    const stopped = this.#receivedBytes === 0;
    this.#receivedBytes = 0;
    if (stopped && ++this.#looks > MOST_LOOKS) {
      this.#timer = null;
      return;
    }
    this.#timer?.refresh();
    if (stopped) this.#lookNow(this.#clock.now());
  }

  #lookNow(now: number): void {
    if (now - this.#lookedAt < LOOK_EVERY_MS) return;
    this.#lookedAt = now;
    this.#look();
  }
}
