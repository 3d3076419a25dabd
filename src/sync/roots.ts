/**
 * One hash for all that a mirror holds (docs/sync-protocol.md, "Root hash"), as both ends compute it: a Merkle tree over
 * its folders. Pure.
 */
import { hash } from "node:crypto";
import type { Comparison, Entry } from "./entry.js";
import { nameToBytes } from "./names.js";
import { parentOf } from "./path.js";

export const ROOT_BYTES = 32;
/** Of a root that is not known. */
export const NO_ROOT: Buffer = Buffer.alloc(ROOT_BYTES);

const KINDS = { file: 0, directory: 1, symlink: 2 };
/** Kind, mode, size, modification time, length of the name; name; hash. */
const HEAD_BYTES = 1 + 2 + 8 + 8 + 2;
const NOT_ASCII = /[^\0-\x7f]/;

/** The root hash of entries in any order; `undefined` where the hash of a file is not known, or times are too coarse. */
export function rootOf(entries: Iterable<Entry>, comparison: Comparison): Buffer | undefined {
  const unit = unitOf(comparison.mtimeToleranceNs ?? 1000n);
  if (unit === undefined) return undefined;
  const children = new Map<string, Entry[]>([["", []]]);
  for (const entry of entries) {
    if (entry.kind === "file" && entry.sha256?.length !== 2 * ROOT_BYTES) return undefined;
    if (entry.kind === "directory") childrenOf(children, entry.path);
    childrenOf(children, parentOf(entry.path)).push(entry);
  }
  // What is below has the longer path, so it comes first.
  const folders = [...children.keys()].sort((a, b) => b.length - a.length);
  const hashes = new Map<string, Buffer>();
  for (const folder of folders) {
    const records = inOrder(children.get(folder) ?? []).map(([name, entry]) =>
      recordOf(name, entry, hashes.get(entry.path), comparison, unit),
    );
    hashes.set(folder, hash("sha256", Buffer.concat(records), "buffer"));
  }
  return hashes.get("");
}

/** Times are compared to the nanosecond or microsecond. */
function unitOf(toleranceNs: bigint): bigint | undefined {
  return toleranceNs === 0n ? 1n : toleranceNs <= 1000n ? 1000n : undefined;
}

function childrenOf(children: Map<string, Entry[]>, folder: string): Entry[] {
  let list = children.get(folder);
  if (list === undefined) {
    list = [];
    children.set(folder, list);
  }
  return list;
}

/** By the bytes of their names. */
function inOrder(entries: readonly Entry[]): [Buffer, Entry][] {
  const named = entries.map((entry): [Buffer, Entry] => [
    nameToBytes(entry.path.slice(entry.path.lastIndexOf("/") + 1)),
    entry,
  ]);
  if (entries.some(({ path }) => NOT_ASCII.test(path))) return named.sort(([a], [b]) => Buffer.compare(a, b));
  return named.sort(([, a], [, b]) => (a.path < b.path ? -1 : 1));
}

function recordOf(name: Buffer, entry: Entry, below: Buffer | undefined, how: Comparison, unit: bigint): Buffer {
  const record = Buffer.alloc(HEAD_BYTES + name.length + ROOT_BYTES);
  record.writeUInt8(KINDS[entry.kind], 0);
  record.writeUInt16BE(modeOf(entry, how), 1);
  record.writeBigUInt64BE(BigInt(entry.kind === "file" ? entry.size : 0), 3);
  record.writeBigInt64BE(timeOf(entry, how, unit), 11);
  record.writeUInt16BE(name.length, 19);
  name.copy(record, HEAD_BYTES);
  const at = HEAD_BYTES + name.length;
  if (entry.kind === "file") record.write(entry.sha256 ?? "", at, "hex");
  else if (entry.kind === "symlink") hash("sha256", nameToBytes(entry.target), "buffer").copy(record, at);
  else below?.copy(record, at);
  return record;
}

function modeOf(entry: Entry, { executable = true, perms = false }: Comparison): number {
  if (!executable || entry.kind === "symlink") return 0;
  if (perms) return entry.mode ?? 0;
  return entry.kind === "file" && entry.executable ? 0o100 : 0;
}

/** Rounded down. */
function timeOf(entry: Entry, { folderTimes = false, linkTimes = false }: Comparison, unit: bigint): bigint {
  const counts = entry.kind === "file" || (entry.kind === "directory" ? folderTimes : linkTimes);
  const time = counts ? (entry.mtimeNs ?? 0n) : 0n;
  return (time - (((time % unit) + unit) % unit)) / unit;
}
