import { LiveArea } from "./live.js";

const BAR_CELLS = 24;

/** One line on a terminal that is redrawn in place; see {@link LiveArea}. */
export class ProgressLine {
  readonly #area = new LiveArea();
  readonly #section = this.#area.section();

  show(text: string): void {
    this.#section.set([text]);
  }

  clear(): void {
    this.#section.set([]);
  }
}

/** `[#####.....]  42 %  3.1 of 7.4 MiB  1.2 MiB/s`; without a total only what has passed. */
export function progressText(doneBytes: number, totalBytes: number | null, seconds: number): string {
  const speed = `${formatBytes(seconds > 0 ? doneBytes / seconds : 0)}/s`;
  if (totalBytes === null) return `${formatBytes(doneBytes)}  ${speed}`;
  const share = totalBytes === 0 ? 1 : doneBytes / totalBytes;
  return `${bar(share)}  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}  ${speed}`;
}

/** `[#####.....]  42 %` */
export function bar(share: number): string {
  const done = Math.min(1, Math.max(0, share));
  const cells = Math.round(done * BAR_CELLS);
  const percent = String(Math.floor(done * 100)).padStart(3);
  return `[${"#".repeat(cells)}${".".repeat(BAR_CELLS - cells)}] ${percent} %`;
}

/** `42 s`, `3:05 min`, `2:10 h` */
export function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(Math.floor((whole % 3600) / 60))} h`;
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
