/** How long versions are kept. */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import type { Database, Version } from "../database/types.js";
import type { ContentStore } from "./content.js";

/** For so many days, or so many of each file. */
export type Keep = { readonly days: number } | { readonly versions: number };

const DAY_MS = 24 * 60 * 60 * 1000;
/** Versions removed in one transaction. */
const BATCH = 200;
/** Files deleted before others have their turn. */
const FILES_IN_A_ROW = 20;
const UNIT_DAYS = { h: 1 / 24, d: 1, w: 7, m: 30, y: 365 } as const;

/** `30d` (also h, w, m for months of 30 days, y) or a number of versions, `10`; `undefined` where it is neither. */
export function parseKeep(text: string): Keep | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([hdwmy]?)$/.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  if (unit === "") return Number.isInteger(Number(number)) ? { versions: Number(number) } : undefined;
  return { days: Number(number) * UNIT_DAYS[unit as keyof typeof UNIT_DAYS] };
}

/** Forgets the versions that are too old or too many, with the content that nothing needs any more. */
export async function pruneVersions(
  database: Database,
  content: ContentStore,
  keep: Keep,
  isOver: () => boolean,
): Promise<void> {
  for (const { name } of await database.folders.list()) {
    while (!isOver()) {
      const { versions, done } = await overdue(database, name, keep);
      if (versions.length > 0) await removeVersions(database, content, name, versions);
      if (done) break;
    }
  }
}

async function overdue(
  database: Database,
  folder: string,
  keep: Keep,
): Promise<{ readonly versions: readonly Version[]; readonly done: boolean }> {
  if ("versions" in keep) return database.versions.beyond(folder, keep.versions);
  const versions = await database.versions.oldest(folder, BATCH, database.elapsed() - keep.days * DAY_MS);
  return { versions, done: versions.length < BATCH };
}

/** Forgets versions, and deletes their content where nothing else needs it. */
export async function removeVersions(
  database: Database,
  content: ContentStore,
  folder: string,
  versions: readonly Version[],
): Promise<void> {
  for (let from = 0; from < versions.length; from += BATCH) {
    const some = versions.slice(from, from + BATCH);
    await database.versions.remove(folder, some);
    const hashes = some.map(({ sha256 }) => sha256).filter((sha256) => sha256 !== null);
    await removeUnneeded(database, content, [...new Set(hashes)]);
  }
}

/**
 * Deletes content that a crash has left without a version that needs it. Looks at so many of the places of the content,
 * from the one after `after` on, and returns the last of these.
 */
export async function sweepContent(
  database: Database,
  content: ContentStore,
  { after, places, isOver }: { readonly after: string; readonly places: number; readonly isOver: () => boolean },
): Promise<string> {
  const all = content.places().sort();
  const start = all.findIndex((place) => place > after);
  let last = after;
  for (const place of start < 0 ? all.slice(0, places) : all.slice(start, start + places)) {
    const kept = content.keptAt(place);
    for (let from = 0; from < kept.length && !isOver(); from += BATCH) {
      await yieldToOthers();
      await removeUnneeded(database, content, kept.slice(from, from + BATCH));
    }
    last = place;
  }
  return last;
}

async function removeUnneeded(database: Database, content: ContentStore, hashes: readonly string[]): Promise<void> {
  const needed = await database.versions.needed(hashes);
  let deleted = 0;
  for (const sha256 of hashes) {
    if (needed.has(sha256)) continue;
    if (++deleted % FILES_IN_A_ROW === 0) await yieldToOthers();
    await content.remove(sha256, async () => (await database.versions.needed([sha256])).has(sha256));
  }
}
