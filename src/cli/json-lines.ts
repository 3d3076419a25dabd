import type { MirrorEvent } from "../sync/index.js";
import { escaped } from "./report.js";

/** The version of the schema in docs/events.md. A field that is added leaves it as it is. */
export const EVENTS_VERSION = 1;

/** Written together. */
const MOST_LINES = 256;

/** One event a line on stdout, as docs/events.md says. */
export class JsonLines {
  readonly #label: { readonly mirror?: string };
  #lines: string[] = [];
  /** Repeated failures are reported at the first of them, and when they are over. */
  readonly #failing = new Set<string>();

  /** `label`: which of several mirrors. */
  constructor(label?: string) {
    this.#label = label === undefined ? {} : { mirror: label };
  }

  show(event: MirrorEvent): void {
    if (this.#isRepeated(event)) return;
    this.#lines.push(escaped(JSON.stringify({ ...event, ...this.#label, v: EVENTS_VERSION })));
    if (this.#lines.length >= MOST_LINES) this.end();
    else if (this.#lines.length === 1) setImmediate(() => this.end());
  }

  #isRepeated(event: MirrorEvent): boolean {
    switch (event.type) {
      case "failed":
        this.#failing.add(event.path);
        return event.again === true;
      case "queued":
      case "sending":
      case "superseded":
        return this.#failing.has(event.path);
      case "pushed":
      case "moved":
      case "deleted":
        this.#failing.delete(event.path);
        return false;
      default:
        return false;
    }
  }

  /** Writes what is left. */
  end(): void {
    if (this.#lines.length > 0) process.stdout.write(`${this.#lines.join("\n")}\n`);
    this.#lines = [];
  }
}
