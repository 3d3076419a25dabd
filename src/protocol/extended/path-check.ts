const NEVER: number = Number.POSITIVE_INFINITY;
const UINT32 = 0x1_0000_0000;

/** An address that does not answer so many challenges is not the peer's. */
const MAX_CHALLENGES = 3;

/** What is sent and must come back: only who has seen it can know it. */
export interface Nonce {
  readonly high: number;
  readonly low: number;
}

export function newNonce(random: () => number): Nonce {
  return { high: Math.floor(random() * UINT32), low: Math.floor(random() * UINT32) };
}

/**
 * Whether a peer that is heard from another address is there (as RFC 9000 section 8.2): a challenge is sent to that address,
 * and again, and what answers it has proved to be there. Anybody may repeat what it overheard, so until then nothing else goes
 * there. One address at a time.
 */
export class PathCheck {
  address = "";
  port = 0;
  /** The address of this machine that it sends to. */
  localAddress = "";
  /** When there is something to do, Infinity for never. */
  timerAt: number = NEVER;
  /** The challenge that is to be sent now. */
  due: Nonce | null = null;
  #sent: Nonce | null = null;
  #challenges = 0;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Something valid came from there. */
  suspect(address: string, port: number, localAddress: string): void {
    if (this.#sent !== null || this.due !== null) return;
    this.address = address;
    this.port = port;
    this.localAddress = localAddress;
    this.#challenges = 0;
    this.due = newNonce(this.#random);
  }

  /** The challenge has left; it is repeated after `timeoutMs`, doubled each time. */
  onSent(timeoutMs: number, now: number): void {
    this.#sent = this.due;
    this.due = null;
    this.timerAt = now + timeoutMs * 2 ** this.#challenges++;
  }

  expire(now: number): void {
    if (this.timerAt > now) return;
    this.timerAt = NEVER;
    // The same nonce again: whichever answer arrives proves it.
    if (this.#challenges < MAX_CHALLENGES) this.due = this.#sent;
    else this.#sent = null;
  }

  /** True: this answer proves it. The check is over. */
  isProvenBy(high: number, low: number): boolean {
    if (this.#sent?.high !== high || this.#sent.low !== low) return false;
    this.#sent = this.due = null;
    this.timerAt = NEVER;
    return true;
  }
}
