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
 * there, and no more bytes than came from there. One address at a time.
 */
export class PathCheck {
  address = "";
  port = 0;
  /** The address of this machine that it sends to. */
  localAddress = "";
  /** When there is something to do, Infinity for never. */
  timerAt: number = NEVER;
  #due: Nonce | null = null;
  #sent: Nonce | null = null;
  #challenges = 0;
  #timeoutMs = 0;
  /** Bytes that have come from there and were not answered. */
  #credit = 0;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** A datagram of `bytes` with our tag came from there. */
  suspect(address: string, port: number, localAddress: string, bytes: number): void {
    if (this.#isAt(address, port, localAddress)) this.#credit += bytes;
    else if (this.#sent === null) {
      this.address = address;
      this.port = port;
      this.localAddress = localAddress;
      this.#challenges = 0;
      this.#credit = bytes;
      this.#due = newNonce(this.#random);
    }
  }

  /** Takes `bytes` of what came from this address for an answer; false, and nothing may be sent there, when there are not so many. */
  spends(address: string, port: number, localAddress: string, bytes: number): boolean {
    if (!this.#isAt(address, port, localAddress) || this.#credit < bytes) return false;
    this.#credit -= bytes;
    return true;
  }

  /** Takes the challenge that is to be sent now, of `bytes`; null where there is none, or too little has come from there. */
  take(bytes: number, timeoutMs: number, now: number): Nonce | null {
    if (this.#due === null || !this.spends(this.address, this.port, this.localAddress, bytes)) return null;
    const nonce = this.#due;
    this.#due = null;
    if (this.#sent === null) {
      this.#sent = nonce;
      this.#timeoutMs = timeoutMs;
      this.timerAt = now + timeoutMs;
    }
    return nonce;
  }

  /** The challenge is repeated after its timeout, doubled each time. */
  expire(now: number): void {
    if (this.timerAt > now) return;
    if (++this.#challenges >= MAX_CHALLENGES) {
      this.#stop();
      return;
    }
    // The same nonce again: whichever answer arrives proves it.
    this.#due = this.#sent;
    this.timerAt = now + this.#timeoutMs * 2 ** this.#challenges;
  }

  /** True: this answer proves it. The check is over. */
  isProvenBy(high: number, low: number): boolean {
    if (this.#sent?.high !== high || this.#sent.low !== low) return false;
    this.#stop();
    return true;
  }

  #isAt(address: string, port: number, localAddress: string): boolean {
    const isUnderCheck = this.#sent !== null || this.#due !== null;
    return isUnderCheck && address === this.address && port === this.port && localAddress === this.localAddress;
  }

  #stop(): void {
    this.#sent = this.#due = null;
    this.timerAt = NEVER;
  }
}
