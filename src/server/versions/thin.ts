/** Keeps fewer versions of a path the older they are. */
import type { Database } from "../database/types.js";
import type { ContentStore } from "./content.js";
import { removeVersions } from "./prune.js";

/** Of the versions older than `olderMs`, the last of each path in each `everyMs`. */
export interface ThinningRule {
  readonly everyMs: number;
  readonly olderMs: number;
}

export type Thinning = readonly ThinningRule[];

const UNIT_MS = { s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 } as const;

/** One a minute after an hour, one an hour after a day, one a day after a week. */
export const DEFAULT_THINNING: Thinning = [
  { everyMs: UNIT_MS.min, olderMs: UNIT_MS.h },
  { everyMs: UNIT_MS.h, olderMs: UNIT_MS.d },
  { everyMs: UNIT_MS.d, olderMs: UNIT_MS.w },
];

/** `1min:1h,1h:1d,1d:1w`: one a minute of those older than an hour, and so on; `off` for none. `undefined` where it is neither. */
export function parseThinning(text: string): Thinning | undefined {
  if (text.trim() === "off") return [];
  const rules = text.split(",").map((rule) => {
    const [everyMs, olderMs, ...more] = rule.split(":").map(parseDuration);
    return everyMs === undefined || olderMs === undefined || more.length > 0 ? undefined : { everyMs, olderMs };
  });
  return rules.every((rule) => rule !== undefined) ? rules : undefined;
}

function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(s|min|h|d|w)$/.exec(text.trim()) ?? [];
  const ms = unit === undefined ? 0 : Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS];
  return ms > 0 ? ms : undefined;
}

/**
 * Forgets the versions that are too many for their age. What one of these was the state of becomes that of the version after it, so
 * that a restore to any time finds what was there then, as exactly as versions are kept.
 */
export async function thinVersions(
  database: Database,
  content: ContentStore,
  thinning: Thinning,
  isOver: () => boolean,
): Promise<void> {
  for (const { name } of await database.folders.list()) {
    for (const rule of thinning) {
      while (!isOver()) {
        const { versions, done } = await database.versions.thin(name, rule);
        if (versions.length > 0) await removeVersions(database, content, name, versions);
        if (done) break;
      }
    }
  }
}
