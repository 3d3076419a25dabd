/** Bytes taken as decisions: numbers, pieces, the rest. Where none are left, every answer is the least one. */
export class Input {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  number(): number {
    return (this.byte() << 8) | this.byte();
  }

  word(): number {
    return this.number() * 0x1_0000 + this.number();
  }

  /** So many bytes, or as many as there are. */
  take(bytes: number): Uint8Array {
    const piece = this.#bytes.slice(this.#at, this.#at + bytes);
    this.#at += piece.length;
    return piece;
  }

  rest(): Uint8Array {
    return this.take(this.left);
  }
}
