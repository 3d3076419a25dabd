import { clearLine, cursorTo } from "node:readline";

const REDRAW_MS = 100;
const BAR_CELLS = 24;

/**
 * One line on a terminal that is redrawn in place. Nothing at all where the output is not a terminal. It reads no keys and
 * catches no signals (which is why it is not a prompt library's), so it can stand beside a transfer from stdin.
 */
export class ProgressLine {
  readonly #output: NodeJS.WriteStream;
  #text = "";
  #drawnAt = 0;

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output;
  }

  get visible(): boolean {
    return this.#output.isTTY === true;
  }

  show(text: string): void {
    this.#text = text;
    const now = performance.now();
    if (!this.visible || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#draw();
  }

  clear(): void {
    if (!this.visible || this.#text === "") return;
    clearLine(this.#output, 0);
    cursorTo(this.#output, 0);
    this.#text = "";
  }

  #draw(): void {
    clearLine(this.#output, 0);
    cursorTo(this.#output, 0);
    // Some terminals do not say how wide they are (0).
    this.#output.write(this.#text.slice(0, (this.#output.columns || 80) - 1));
  }
}

/** `[#####.....]  42 %  3.1 of 7.4 MiB  1.2 MiB/s`; without a total only what has passed. */
export function progressText(doneBytes: number, totalBytes: number | null, seconds: number): string {
  const speed = `${formatBytes(seconds > 0 ? doneBytes / seconds : 0)}/s`;
  if (totalBytes === null) return `${formatBytes(doneBytes)}  ${speed}`;
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const cells = Math.round(share * BAR_CELLS);
  const bar = `${"#".repeat(cells)}${".".repeat(BAR_CELLS - cells)}`;
  return `[${bar}] ${String(Math.floor(share * 100)).padStart(3)} %  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}  ${speed}`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
