import { clearScreenDown, cursorTo, moveCursor } from "node:readline";

const REDRAW_MS = 100;

/** Lines of one writer in a {@link LiveArea}; redrawn in place. */
export interface LiveSection {
  /** Replaces the lines. */
  set(lines: readonly string[]): void;
}

/**
 * The last lines of a terminal, redrawn in place, below all that is printed. Nothing at all where the output is not a
 * terminal. It reads no keys and catches no signals, so that it can stand beside a transfer from stdin.
 */
export class LiveArea {
  readonly #output: NodeJS.WriteStream;
  readonly #sections: (readonly string[])[] = [];
  #drawn = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

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

  /** Prints something above the lines. */
  above(print: () => void): void {
    this.#erase();
    print();
    this.#redraw();
  }

  #redraw(): void {
    if (!this.visible) return;
    const isEmpty = this.#lines().length === 0;
    const waitMs = isEmpty ? 0 : this.#drawnAt + REDRAW_MS - performance.now();
    if (waitMs <= 0) {
      // Without lines nothing may be pending: what is printed next by others would be taken for the lines and erased.
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#draw();
    } else {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#draw();
      }, waitMs).unref();
    }
  }

  #lines(): string[] {
    return this.#sections.flat().slice(-this.rows);
  }

  #draw(): void {
    this.#drawnAt = performance.now();
    this.#erase();
    const lines = this.#lines();
    if (lines.length === 0) return;
    // Some terminals do not say how wide they are (0).
    const width = (this.#output.columns || 80) - 1;
    this.#output.write(lines.map((line) => `${cut(line, width)}\n`).join(""));
    this.#drawn = lines.length;
  }

  #erase(): void {
    if (this.#drawn === 0) return;
    moveCursor(this.#output, 0, -this.#drawn);
    cursorTo(this.#output, 0);
    clearScreenDown(this.#output);
    this.#drawn = 0;
  }
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
