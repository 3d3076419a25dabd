/**
 * Tells when nothing of what was taken for lost was (Eifel, RFC 3522 and RFC 4015; duplicates, RFC 3708): each segment that
 * was marked must turn out to have arrived, by its original being acknowledged or by its repetition being a duplicate.
 */
export class Undo {
  /** Segments marked since recovery began that have not turned out to have arrived. */
  #lost = 0;
  /** Originals were acknowledged after they had been repeated: the repetitions will be reported as duplicates as well. */
  #expected = 0;
  #due = false;

  /** A recovery begins. */
  begin(): void {
    this.#lost = 0;
    this.#due = false;
  }

  onLost(segments: number): void {
    this.#lost += segments;
    if (segments > 0) this.#due = false;
  }

  /** A segment that was taken for lost is acknowledged, and it was its original that arrived. */
  onOriginal(wasRepeated: boolean): void {
    if (wasRepeated) this.#expected++;
    this.#refute();
  }

  /** The peer has got something twice. */
  onDuplicate(): void {
    if (this.#expected > 0) this.#expected--;
    else this.#refute();
  }

  /** Once: everything is refuted now. */
  takeDue(): boolean {
    const due = this.#due;
    this.#due = false;
    return due;
  }

  #refute(): void {
    if (this.#lost > 0 && --this.#lost === 0) this.#due = true;
  }
}
