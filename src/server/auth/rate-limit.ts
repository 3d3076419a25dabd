/** Budgets of attempts: a leaky bucket for each key. Pure but for its table. */
import { isIPv6, SocketAddress } from "node:net";
import { type AttemptLimit, MAX_ATTEMPT_KEYS } from "../limits.js";

export class AttemptBudget {
  readonly #limit: AttemptLimit;
  readonly #onForgotten: () => void;
  /** For each key, when its bucket will be empty. In order of the last attempt. */
  readonly #emptyAt = new Map<string, number>();

  /** `onForgotten`: called for each key that made way for another. */
  constructor(limit: AttemptLimit, onForgotten: () => void = () => {}) {
    this.#limit = limit;
    this.#onForgotten = onForgotten;
  }

  /** How long the key has to wait before its next attempt; 0: not at all. Milliseconds. */
  waitMs(key: string, now: number): number {
    const { burst, everyMs } = this.#limit;
    const backlogMs = (this.#emptyAt.get(key) ?? 0) - now;
    return Math.max(0, backlogMs - (burst - 1) * everyMs);
  }

  /** Counts an attempt. */
  take(key: string, now: number): void {
    const emptyAt = Math.max(this.#emptyAt.get(key) ?? 0, now) + this.#limit.everyMs;
    this.#emptyAt.delete(key);
    this.#emptyAt.set(key, emptyAt);
    const [oldest] = this.#emptyAt.keys();
    if (this.#emptyAt.size <= MAX_ATTEMPT_KEYS || oldest === undefined) return;
    this.#emptyAt.delete(oldest);
    this.#onForgotten();
  }

  /** Gives one attempt back. */
  refund(key: string, now: number): void {
    const emptyAt = (this.#emptyAt.get(key) ?? 0) - this.#limit.everyMs;
    if (emptyAt > now) this.#emptyAt.set(key, emptyAt);
    else this.#emptyAt.delete(key);
  }
}

/** The unit that an address is counted by: an IPv4 address, or the /64 of an IPv6 address, which one host has all of. */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address;
  const canonical = new SocketAddress({ address: address.replace(/%.*$/, ""), family: "ipv6" }).address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(canonical)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail = ""] = canonical.split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === "" ? [] : tail.split(":");
  while (groups.length + after.length < 8) groups.push("0");
  return [...groups, ...after].slice(0, 4).join(":");
}
