/** How often somebody may fail: a bucket of failures for each key, which empties slowly. Pure but for its table. */
import { isIPv6 } from "node:net";

export interface FailureLimit {
  /** Failures in a row before the first wait. */
  readonly burst: number;
  /** One more for each of these. */
  readonly everyMs: number;
}

/** Keys remembered at once; the one that has not failed for longest is forgotten first. */
const MAX_KEYS = 10_000;

export class Failures {
  readonly #limit: FailureLimit;
  /** For each key, when its bucket will be empty. In order of the last failure. */
  readonly #emptyAt = new Map<string, number>();

  constructor(limit: FailureLimit) {
    this.#limit = limit;
  }

  /** How long the key has to wait before it may try; 0: not at all. Milliseconds. */
  waitMs(key: string, now: number): number {
    const { burst, everyMs } = this.#limit;
    const backlogMs = (this.#emptyAt.get(key) ?? 0) - now;
    return Math.max(0, backlogMs - (burst - 1) * everyMs);
  }

  /** Notes a failure; whether that was the one that uses the last attempt up. */
  add(key: string, now: number): boolean {
    const could = this.waitMs(key, now) === 0;
    const emptyAt = Math.max(this.#emptyAt.get(key) ?? 0, now) + this.#limit.everyMs;
    this.#emptyAt.delete(key);
    this.#emptyAt.set(key, emptyAt);
    const [oldest] = this.#emptyAt.keys();
    if (this.#emptyAt.size > MAX_KEYS && oldest !== undefined) this.#emptyAt.delete(oldest);
    return could && this.waitMs(key, now) > 0;
  }

  clear(key: string): void {
    this.#emptyAt.delete(key);
  }
}

/** Whom an address stands for: of IPv6 a network of 64 bits, as one host has all of it. */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail = ""] = new URL(`http://[${address.replace(/%.*$/, "")}]/`).hostname.slice(1, -1).split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === "" ? [] : tail.split(":");
  while (groups.length + after.length < 8) groups.push("0");
  return [...groups, ...after].slice(0, 4).join(":");
}
