/** Files in a staging folder that hold the beginning of a large file, for its client to go on from there. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { listOrNothing } from "../files/read-or-nothing.js";
import { MAX_PARTIALS, PARTIAL_KEEP_MS } from "./limits.js";
import { nameToBytes } from "./names.js";
import type { FileIdentity } from "./wire.js";

const PARTIAL = /^[0-9a-f]{32}-[0-9a-f]{32}\.partial$/;

export interface Partial {
  /** Absolute. */
  readonly file: string;
  /** Identifies the path in the mirror that it is for, see {@link partialId}. */
  readonly id: string;
  readonly bytes: number;
  readonly ageMs: number;
}

/** Identifies a path of a mirror in the names of its partial files. */
export function partialId(path: string): string {
  return digest(path);
}

/** The name of the partial file for this version of a file. It begins with {@link partialId}. */
export function partialName(file: FileIdentity): string {
  return `${partialId(file.path)}-${digest(`${file.size}/${file.mtimeNs}/${file.executable}`)}.partial`;
}

/** Those in the staging folder, the newest first. */
export function listPartials(staging: string, now: number = Date.now()): Partial[] {
  const partials: Partial[] = [];
  for (const name of listOrNothing(staging)) {
    if (!PARTIAL.test(name)) continue;
    const file = `${staging}/${name}`;
    const stats = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stats !== undefined)
      partials.push({ file, id: name.slice(0, 32), bytes: stats.size, ageMs: now - stats.mtimeMs });
  }
  return partials.sort((a, b) => a.ageMs - b.ageMs);
}

/** Those that are kept when a session ends: recent ones, of a bounded number. */
export function partialsToKeep(partials: readonly Partial[]): Set<string> {
  const recent = partials.filter(({ ageMs }) => ageMs < PARTIAL_KEEP_MS);
  return new Set(recent.slice(0, MAX_PARTIALS).map(({ file }) => file));
}

function digest(text: string): string {
  return createHash("sha256").update(nameToBytes(text)).digest("hex").slice(0, 32);
}
