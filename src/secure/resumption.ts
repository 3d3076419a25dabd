/**
 * Connecting again without certificates. Two ends that have shown each other their keys derive a secret from that
 * connection (RFC 8446, 7.5), by which both know each other the next time: an external pre-shared key with a new (EC)DHE
 * exchange (RFC 8446, 2.2). It takes a sixth of the bytes. Each connection leads to a new secret, so that nobody can tell
 * from outside that two are of the same ends.
 *
 * The first exchange of keys is safe from quantum computers where OpenSSL has that; so is all that its secret is mixed into.
 */
import type { TLSSocket } from "node:tls";
import { MAX_RESUMPTIONS, MAX_USED_RESUMPTIONS } from "./limits.js";

/** What both ends of a connection know, and nobody else. */
export interface Resumption {
  /** Names the secret, in the clear. */
  readonly id: string;
  readonly secret: Buffer;
}

/** Keys are shown again after so long. */
export const RESUMED_MOST_MS: number = 24 * 60 * 60 * 1000;
const ID_BYTES = 8;
export const SECRET_BYTES = 32;

/** What the two ends of `stream` can connect with the next time. */
export function resumptionOf(stream: TLSSocket): Resumption {
  const nothing = Buffer.alloc(0);
  const both = stream.exportKeyingMaterial(ID_BYTES + SECRET_BYTES, "EXPORTER-confundo-resumption", nothing);
  return { id: both.toString("base64url", 0, ID_BYTES), secret: both.subarray(ID_BYTES) };
}

/** … and of whom. */
export interface KnownAgain extends Resumption {
  /** The pin of the key that the other end has shown. */
  readonly pin: string;
  /** When it has; milliseconds since 1970. */
  readonly shownMs: number;
}

/**
 * A server's memory of those it can know again. It ends with the process: then all show their keys anew. Each secret is good
 * for one connection. One that comes again is in two hands, as a device forgets it before it uses it.
 */
export class Resumptions {
  readonly #now: () => number;
  readonly #known = new Map<string, KnownAgain>();
  readonly #used = new Map<string, KnownAgain>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** The secret of that name, whether it was used or not: only who completes a handshake with it has it. */
  find(id: string): KnownAgain | undefined {
    const found = this.#known.get(id) ?? this.#used.get(id);
    return found === undefined || this.#now() - found.shownMs >= RESUMED_MOST_MS ? undefined : found;
  }

  /**
   * Uses a secret up, when a handshake with it is complete. `reused` where it was used before: then all secrets of that
   * device are forgotten, as it is not known which of the two is the device. `forgotten` where that happened meanwhile.
   */
  use({ id, pin }: KnownAgain): "used" | "reused" | "forgotten" {
    const known = this.#known.get(id);
    if (known !== undefined) {
      this.#known.delete(id);
      this.#used.set(id, known);
      trim(this.#used, MAX_USED_RESUMPTIONS);
      return "used";
    }
    if (!this.#used.has(id)) return "forgotten";
    for (const [other, { pin: of }] of this.#known) if (of === pin) this.#known.delete(other);
    return "reused";
  }

  /** Lets a device that is welcome come back; it has shown its key at `shownMs`, or just now. */
  remember(stream: TLSSocket, pin: string, shownMs: number = this.#now()): void {
    const resumption = resumptionOf(stream);
    this.#known.set(resumption.id, { ...resumption, pin, shownMs });
    trim(this.#known, MAX_RESUMPTIONS);
  }

  /** All have to show their keys again. */
  clear(): void {
    this.#known.clear();
  }
}

function trim(secrets: Map<string, KnownAgain>, most: number): void {
  for (const oldest of secrets.keys()) {
    if (secrets.size <= most) return;
    secrets.delete(oldest);
  }
}
