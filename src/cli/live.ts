import { clearScreenDown, cursorTo, moveCursor } from "node:readline";

const REDRAW_MS = 100;

/** Lines of one writer in a {@link LiveArea}; redrawn in place. */
export interface LiveSection {
  /** Replaces the lines. */
  set(lines: readonly string[]): void;
}

/**
 * The last lines of a terminal, redrawn in place, below all that is printed; or a question in their place, as long as there is
 * one. Nothing at all where the output is not a terminal. It reads no keys and catches no signals, so that it can stand beside a
 * transfer from stdin. What is printed by others than {@link above} is erased, unless there are no lines.
 */
export class LiveArea {
  readonly #output: NodeJS.WriteStream;
  readonly #sections: (readonly string[])[] = [];
  #drawn = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #question = "";

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output;
  }

  get visible(): boolean {
    return this.#output.isTTY === true;
  }

  /** How many lines there is room for. */
  get rows(): number {
    return Math.max(1, (this.#output.rows || 24) - 2);
  }

  section(): LiveSection {
    const index = this.#sections.push([]) - 1;
    return {
      set: (lines) => {
        this.#sections[index] = lines;
        this.#redraw();
      },
    };
  }

  /** Prints something above the lines, or above the question. */
  above(print: () => void): void {
    this.#erase();
    print();
    if (this.#question === "") this.#redraw();
    else this.#draw();
  }

  /** Shows a question behind which an answer is typed, instead of the lines. */
  ask(question: string): void {
    this.#question = question;
    this.#draw();
  }

  /** Shows the lines again. `typed`: the person ended the line; otherwise the question is left as it stands. */
  answered(typed: boolean): void {
    if (this.#question === "") return;
    this.#question = "";
    this.#drawn = 0;
    if (!typed) this.#output.write("\n");
    this.#redraw();
  }

  #redraw(): void {
    if (!this.visible || this.#question !== "") return;
    const waitMs = this.#lines().length === 0 ? 0 : this.#drawnAt + REDRAW_MS - performance.now();
    if (waitMs <= 0) this.#draw();
    else this.#timer ??= setTimeout(() => this.#draw(), waitMs).unref();
  }

  #lines(): string[] {
    return this.#sections.flat().slice(-this.rows);
  }

  #draw(): void {
    // One that is pending would erase what is printed after the last lines have gone.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = performance.now();
    this.#erase();
    // Some terminals do not say how wide they are (0).
    const columns = this.#output.columns || 80;
    if (this.#question !== "") {
      this.#output.write(this.#question);
      this.#drawn = Math.max(0, Math.ceil(widthOf(this.#question) / columns) - 1);
      return;
    }
    const lines = this.#lines();
    if (lines.length === 0) return;
    this.#output.write(lines.map((line) => `${cut(line, columns - 1)}\n`).join(""));
    this.#drawn = lines.length;
  }

  #erase(): void {
    if (this.#drawn === 0 && this.#question === "") return;
    if (this.#drawn > 0) moveCursor(this.#output, 0, -this.#drawn);
    cursorTo(this.#output, 0);
    clearScreenDown(this.#output);
    this.#drawn = 0;
  }
}

function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) width += WIDE.test(segment) ? 2 : 1;
  return width;
}

/** Characters, whole ones; wide ones count as two. */
function cut(line: string, width: number): string {
  let left = width;
  let text = "";
  for (const { segment } of new Intl.Segmenter().segment(line)) {
    left -= WIDE.test(segment) ? 2 : 1;
    if (left < 0) break;
    text += segment;
  }
  return text;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
