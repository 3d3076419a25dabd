import { type LimitCounters, type LimitName, SHARES, type ShareKind, type ShareLimits } from "./limits.js";

/** Who takes a place. What is not known of them is left out. */
export interface Holder {
  readonly administrator: boolean;
  readonly user?: string;
  readonly device?: string;
  /** As {@link addressKey} gives it. */
  readonly address?: string;
}

/**
 * A bounded number of places, of which no user, device or address gets more than its share. Some are kept for
 * administrators, who do not count by their address either: others behind the same one do not keep them out.
 */
export class Shares {
  readonly #kind: ShareKind;
  readonly #limits: ShareLimits;
  readonly #counters: LimitCounters | undefined;
  readonly #taken = new Map<string, number>();
  #size = 0;

  constructor(kind: ShareKind, counters?: LimitCounters, limits: ShareLimits = SHARES[kind]) {
    this.#kind = kind;
    this.#counters = counters;
    this.#limits = limits;
  }

  /** Places that are taken. */
  get size(): number {
    return this.#size;
  }

  /** The limit that keeps the holder out, which is counted; `undefined` where there is room. */
  refusal(holder: Holder): LimitName | undefined {
    const limit = this.#reached(holder);
    if (limit !== undefined) this.#counters?.add(limit);
    return limit;
  }

  /** Takes a place, and returns what gives it back (once); or the limit that keeps the holder out. */
  enter(holder: Holder): (() => void) | LimitName {
    const limit = this.refusal(holder);
    if (limit !== undefined) return limit;
    const keys = keysOf(holder);
    this.#size++;
    for (const key of keys) this.#taken.set(key, (this.#taken.get(key) ?? 0) + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#size--;
      for (const key of keys) {
        const others = (this.#taken.get(key) ?? 1) - 1;
        if (others > 0) this.#taken.set(key, others);
        else this.#taken.delete(key);
      }
    };
  }

  #reached(holder: Holder): LimitName | undefined {
    const { total, forAdministrators, perUser, perDevice, perAddress } = this.#limits;
    const { administrator, user, device, address } = holder;
    const full = (kind: string, name: string | undefined, most: number | undefined): boolean =>
      name !== undefined && most !== undefined && (this.#taken.get(`${kind} ${name}`) ?? 0) >= most;
    const name = (suffix: string): LimitName => `${this.#kind}${suffix}` as LimitName;
    if (full("user", user, perUser)) return name("PerUser");
    if (full("device", device, perDevice)) return name("PerDevice");
    if (!administrator && full("address", address, perAddress)) return name("PerAddress");
    return this.#size >= total - (administrator ? 0 : forAdministrators) ? name("") : undefined;
  }
}

function keysOf({ user, device, address }: Holder): string[] {
  const keys = Object.entries({ user, device, address }).filter(([, name]) => name !== undefined);
  return keys.map(([kind, name]) => `${kind} ${name}`);
}
