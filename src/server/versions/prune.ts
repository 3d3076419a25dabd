/** How long versions are kept. */
import type { Database, Version } from "../database/types.js";
import type { ContentStore } from "./content.js";

/** For so many days, or so many of each file. */
export type Keep = { readonly days: number } | { readonly versions: number };

const DAY_MS = 24 * 60 * 60 * 1000;
const BATCH = 500;
const UNIT_DAYS = { h: 1 / 24, d: 1, w: 7, m: 30, y: 365 } as const;

/** `30d` (also h, w, m for months of 30 days, y) or a number of versions, `10`; `undefined` where it is neither. */
export function parseKeep(text: string): Keep | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([hdwmy]?)$/.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  if (unit === "") return Number.isInteger(Number(number)) ? { versions: Number(number) } : undefined;
  return { days: Number(number) * UNIT_DAYS[unit as keyof typeof UNIT_DAYS] };
}

/** Forgets the versions that are too old or too many, and deletes the content that nothing needs any more. */
export async function pruneVersions(
  database: Database,
  content: ContentStore,
  keep: Keep,
  now: number,
  isOver: () => boolean,
): Promise<void> {
  for (const { name } of await database.folders.list()) {
    const overdue = (): Promise<Version[]> =>
      "days" in keep
        ? database.versions.endedBefore(name, now - keep.days * DAY_MS, BATCH)
        : database.versions.beyond(name, keep.versions, BATCH);
    for (let batch = await overdue(); batch.length > 0 && !isOver(); batch = await overdue()) {
      await database.versions.remove(name, batch);
    }
  }
  // Also what a crash left without a version that needs it.
  for (const sha256 of content.all()) {
    if (isOver()) return;
    const needed = (): Promise<boolean> => database.versions.needs(sha256);
    if (!(await needed())) await content.remove(sha256, needed);
  }
}
