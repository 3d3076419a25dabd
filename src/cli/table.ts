import { escaped, shownPath } from "./report.js";

/** Columns under their headings, for people. Cells may come from others: each stays in its line. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const lines = [headings, ...rows.map((row) => row.map(shownPath))];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines) {
    const cells = line.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }
}

/** One line of JSON, in which no character deceives who reads it; programs get the same value. */
export function printJson(value: object): void {
  const json = JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner));
  process.stdout.write(`${escaped(json)}\n`);
}

/** `2026-11-25 23:41`, in local time; `-` for never. */
export function shownTime(at: number | null): string {
  if (at === null) return "-";
  const date = new Date(at);
  const two = (number: number): string => `${number}`.padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
