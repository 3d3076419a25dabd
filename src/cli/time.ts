/** Points in time and spans, as people type them. Pure but for the machine's time zone. */

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/**
 * A time in the past as milliseconds since 1970; `undefined` where it cannot be read.
 *
 * `90s`, `15min` (or `15m`), `2h`, `3d`, `1w`: so long ago. `2026-11-25`, `2026-11-25 10:00`, `2026-11-25T10:00:05.250`: of this
 * machine's clock, with `Z` or `+01:00` of another. `10:00`: the last time that it was ten.
 */
export function parseTime(text: string, now: number): number | undefined {
  const trimmed = text.trim().replace(/\s+ago$/i, "");
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)$/i.exec(trimmed) ?? [];
  if (number !== undefined) return now - Number(number) * (UNIT_MS[unit.toLowerCase().replace(/^m$/, "min")] ?? 0);
  const [, hour, minute, second = "00"] = /^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,3})?))?$/.exec(trimmed) ?? [];
  if (hour !== undefined) {
    const today = new Date(now);
    const at = new Date(now);
    at.setHours(Number(hour), Number(minute), 0, Math.round(Number(second) * 1000));
    if (Number(hour) > 23 || Number(minute) > 59 || Number(second) >= 60) return undefined;
    if (at > today) at.setDate(at.getDate() - 1);
    return at.getTime();
  }
  const [, date, time, zone = ""] =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(trimmed) ?? [];
  if (date === undefined) return undefined;
  const at = Date.parse(`${date}T${time ?? "00:00"}${zone.toUpperCase()}`);
  return Number.isNaN(at) ? undefined : at;
}

/** `2026-11-25 10:00:05.250`, of this machine's clock; {@link parseTime} reads it. */
export function formatTime(at: number): string {
  const time = new Date(at);
  const two = (value: number, width = 2): string => String(value).padStart(width, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return `${day} ${clock}.${two(time.getMilliseconds(), 3)}`;
}
