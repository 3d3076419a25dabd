/** How long an answer is good for, and how many are kept. */
const GOOD_FOR_MS = 10_000;
const MOST = 256;

/** Answers of the system that change seldom and take a while to get. */
export class Remembered<Answer> {
  readonly #known = new Map<string, { readonly answer: Answer; readonly until: number }>();

  /** The answer to `question`, by `ask()` where none is known that is not old. `now` is in milliseconds. */
  get(question: string, now: number, ask: () => Answer): Answer {
    const known = this.#known.get(question);
    if (known !== undefined && now < known.until) return known.answer;
    const answer = ask();
    if (this.#known.size >= MOST) this.clear();
    this.#known.set(question, { answer, until: now + GOOD_FOR_MS });
    return answer;
  }

  /** One of them may be wrong by now. */
  clear(): void {
    this.#known.clear();
  }
}
