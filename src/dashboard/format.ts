/** Numbers and times as people read them. Pure. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Such as `0 B`, `1.5 KiB`, `640 MiB`. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Bytes a second. */
export function rate(bytesPerSecond: number): string {
  return `${bytes(bytesPerSecond)}/s`;
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

/** `one` or `many`, with the number before it. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function milliseconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 10_000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

const STEPS: readonly (readonly [limitMs: number, unitMs: number, unit: Intl.RelativeTimeFormatUnit])[] = [
  [60_000, 1000, "second"],
  [3_600_000, 60_000, "minute"],
  [86_400_000, 3_600_000, "hour"],
  [30 * 86_400_000, 86_400_000, "day"],
  [365 * 86_400_000, 30 * 86_400_000, "month"],
  [Infinity, 365 * 86_400_000, "year"],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** Such as `5 minutes ago`, `in 3 hours`, `now`. Both in milliseconds since 1970. */
export function ago(time: number, now: number): string {
  const distance = time - now;
  const [, unitMs, unit] = STEPS.find(([limit]) => Math.abs(distance) < limit) as (typeof STEPS)[number];
  return relative.format(Math.trunc(distance / unitMs), unit);
}

/** In the reader's time zone, to the second: `2026-11-25 22:30:17`. */
export function moment(time: number): string {
  const date = new Date(time);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** As `ls -l` shows them: `rwxr-xr-x`. */
export function permissions(mode: number): string {
  return [...(mode & 0o777).toString(8).padStart(3, "0")]
    .map((digit) => Number(digit))
    .map((bits) => `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 1 ? "x" : "-"}`)
    .join("");
}
