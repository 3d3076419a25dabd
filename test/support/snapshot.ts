/** What is in a folder, byte for byte, and in which ways two folders differ. */
import { createHash } from "node:crypto";
import fs from "node:fs";

export interface Described {
  readonly kind: "file" | "folder" | "link" | "other";
  /** All twelve permission bits. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** Files only. */
  readonly size: bigint;
  /** SHA-256 of a file's content, the bytes that a link points to; `""` where nobody asked. */
  readonly content: string;
}

export interface SnapshotOptions {
  /** Read files. Default true. */
  readonly content?: boolean;
  /** Leave out what these are true of. */
  readonly except?: (path: string) => boolean;
}

export interface DifferenceOptions {
  /** Compare all permission bits instead of the owner's executable bit. Default false. */
  readonly modes?: boolean;
}

const SLASH = Buffer.from("/");
const OWNER_EXECUTES = 0o100;

/** By path. A path's bytes are read as Latin-1, so that every name, UTF-8 or not, is a key of its own. */
export function snapshot(folder: string, options: SnapshotOptions = {}): Map<string, Described> {
  const found = new Map<string, Described>();
  const root = Buffer.from(folder);
  const visit = (inside: Buffer): void => {
    const full = inside.length === 0 ? root : Buffer.concat([root, SLASH, inside]);
    for (const name of fs.readdirSync(full, { encoding: "buffer" })) {
      const path = inside.length === 0 ? name : Buffer.concat([inside, SLASH, name]);
      const key = path.toString("latin1");
      if (options.except?.(key)) continue;
      const described = describeEntry(Buffer.concat([root, SLASH, path]), options.content ?? true);
      found.set(key, described);
      if (described.kind === "folder") visit(path);
    }
  };
  visit(Buffer.alloc(0));
  return found;
}

function describeEntry(full: Buffer, content: boolean): Described {
  const stats = fs.lstatSync(full, { bigint: true });
  const kind = stats.isFile() ? "file" : stats.isDirectory() ? "folder" : stats.isSymbolicLink() ? "link" : "other";
  const described = { kind, mode: Number(stats.mode & 0o7777n), mtimeNs: stats.mtimeNs } as const;
  if (kind === "link") {
    return { ...described, size: 0n, content: fs.readlinkSync(full, { encoding: "buffer" }).toString("latin1") };
  }
  return {
    ...described,
    size: kind === "file" ? stats.size : 0n,
    content: kind === "file" && content ? hash(full) : "",
  };
}

function hash(file: Buffer): string {
  return createHash("sha256").update(fs.readFileSync(file)).digest("hex");
}

/** One line for each difference, for people; none where both are equal. */
export function differences(
  here: ReadonlyMap<string, Described>,
  there: ReadonlyMap<string, Described>,
  options: DifferenceOptions = {},
): string[] {
  const lines: string[] = [];
  for (const [path, mine] of here) {
    const theirs = there.get(path);
    if (theirs === undefined) lines.push(`${shown(path)}: a ${mine.kind} that is missing at the destination`);
    else for (const line of entryDifferences(mine, theirs, options)) lines.push(`${shown(path)}: ${line}`);
  }
  for (const [path, { kind }] of there) {
    if (!here.has(path)) lines.push(`${shown(path)}: a ${kind} at the destination only`);
  }
  return lines;
}

function* entryDifferences(mine: Described, theirs: Described, options: DifferenceOptions): Generator<string> {
  if (mine.kind !== theirs.kind) {
    yield `is a ${mine.kind}, at the destination a ${theirs.kind}`;
    return;
  }
  if (mine.size !== theirs.size) yield `has ${mine.size} bytes, at the destination ${theirs.size}`;
  else if (mine.content !== theirs.content) yield "has other content at the destination";
  const bits = options.modes ? 0o7777 : mine.kind === "file" ? OWNER_EXECUTES : 0;
  if (mine.kind !== "link" && (mine.mode & bits) !== (theirs.mode & bits)) {
    yield `has mode ${mine.mode.toString(8)}, at the destination ${theirs.mode.toString(8)}`;
  }
  if (mine.mtimeNs !== theirs.mtimeNs) {
    yield `was modified at ${mine.mtimeNs}, at the destination ${theirs.mtimeNs}`;
  }
}

function shown(path: string): string {
  return JSON.stringify(Buffer.from(path, "latin1").toString());
}
