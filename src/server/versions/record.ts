/** What a session tells, as rows of the database, and as lines of a file until it is there. Pure. */
import type { ReceiveEvent, StoredEntry } from "../../sync/index.js";
import type { FileChange, FileRecord, LoggedEvent } from "../database/types.js";
import { isRetired } from "./content.js";
import type { Kept, Recorded } from "./write-behind.js";

export function toChange(event: ReceiveEvent, folder: string, at: number): FileChange | undefined {
  switch (event.type) {
    case "stored":
    case "changed":
      return { do: "put", at, ...fromStored(event.entry, folder, at) };
    case "removed":
      return { do: "remove", at, folder, path: event.path };
    case "moved":
      return { do: "move", at, folder, from: event.from, path: event.path };
    default:
      return undefined;
  }
}

/** Who did it: the device of a client (null where there are none), or somebody else. */
export type Actor = { readonly device: string | null } | { readonly by: string };

/** Events of the log carry who did it, and the least that somebody who looks on needs. */
export function toEvent(event: ReceiveEvent, folder: string, who: Actor): Omit<LoggedEvent, "id" | "at"> | undefined {
  const log = (type: string, data: object) => ({ type, folder, data: { ...data, ...who } });
  switch (event.type) {
    case "stored":
      return log("file.stored", { path: event.path, kind: kindOf(event.entry), bytes: event.bytes });
    case "changed":
      return log("file.changed", { path: event.path });
    case "removed":
      return log("file.deleted", { path: event.path });
    case "moved":
      return log("file.moved", { from: event.from, path: event.path });
    case "failed":
      return log("file.failed", { path: event.path, code: event.code });
    case "settled":
      return log("folder.settled", { entries: event.entries });
    case "agreed":
      return log("folder.agreed", { rootHash: event.root });
    case "deletes":
      return event.held === null ? log("deletes.released", {}) : log("deletes.held", event.held);
    case "opened":
      return log("session.opened", { label: event.label });
    case "closed":
      return log("session.closed", { code: event.code ?? null });
  }
}

function fromStored(entry: StoredEntry, folder: string, at: number): Omit<FileRecord, "version" | "storedAt"> {
  const { path, size, executable, target = null, sha256 = null } = entry;
  const usual = entry.kind === "directory" || executable ? 0o700 : 0o600;
  const mode = entry.mode ?? (entry.kind === "symlink" ? 0o777 : usual);
  const mtimeNs = entry.mtimeNs ?? BigInt(at) * 1_000_000n;
  return { folder, path, kind: kindOf(entry), size, mode, mtimeNs, sha256, target };
}

function kindOf({ kind }: StoredEntry): FileRecord["kind"] {
  return kind === "symlink" ? "link" : kind;
}

/** As plain JSON: times in nanoseconds are texts. */
export function toLine(kept: Kept): unknown {
  if (!("recorded" in kept)) return kept;
  const { event } = kept.recorded;
  const entry = "entry" in event ? event.entry : undefined;
  if (entry?.mtimeNs === undefined) return kept;
  return { recorded: { ...kept.recorded, event: { ...event, entry: { ...entry, mtimeNs: String(entry.mtimeNs) } } } };
}

/** What {@link toLine} has made, as far as it is sound: what is read from a disk may be anything. */
export function fromLine(line: unknown): Kept | undefined {
  const { retired, recorded, event } = (line ?? {}) as Readonly<Record<string, unknown>>;
  if (retired !== undefined) return isRetired(retired) ? { retired } : undefined;
  if (recorded !== undefined) return recordedOf(recorded as Recorded);
  const { type, folder, data } = (event ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof type !== "string" || !(folder === null || typeof folder === "string")) return undefined;
  return { event: { type, folder, data: data ?? null } };
}

function recordedOf({ event, folder, who, at, startedAt, endedAt }: Recorded): Kept | undefined {
  const sound =
    typeof folder === "string" &&
    isObject(who) &&
    [at, startedAt, endedAt].every((time) => Number.isFinite(time)) &&
    isObject(event) &&
    TYPES.has(event.type);
  if (!sound) return undefined;
  const pathed = event as { readonly path?: unknown; readonly from?: unknown };
  if (PATHED.has(event.type) && typeof pathed.path !== "string") return undefined;
  if (event.type === "moved" && typeof pathed.from !== "string") return undefined;
  if (!("entry" in event) || event.entry === undefined) {
    const needs = event.type === "stored" || event.type === "changed";
    return needs ? undefined : { recorded: { event, folder, who, at, startedAt, endedAt } };
  }
  const entry = entryOf(event.entry as unknown as Readonly<Record<string, unknown>>);
  if (entry === undefined) return undefined;
  return { recorded: { event: { ...event, entry } as ReceiveEvent, folder, who, at, startedAt, endedAt } };
}

const TYPES: ReadonlySet<string> = new Set([
  "stored",
  "changed",
  "removed",
  "moved",
  "failed",
  "settled",
  "agreed",
  "deletes",
  "opened",
  "closed",
] satisfies ReceiveEvent["type"][]);
const PATHED: ReadonlySet<string> = new Set(["stored", "changed", "removed", "moved", "failed"]);

function entryOf(value: Readonly<Record<string, unknown>>): StoredEntry | undefined {
  const { kind, path, size, mtimeNs, ...others } = value;
  const timed = mtimeNs === undefined || (typeof mtimeNs === "string" && /^-?\d{1,20}$/.test(mtimeNs));
  const kinds = kind === "file" || kind === "directory" || kind === "symlink";
  if (!kinds || typeof path !== "string" || !Number.isSafeInteger(size) || !timed) return undefined;
  const time = mtimeNs === undefined ? {} : { mtimeNs: BigInt(mtimeNs) };
  return { ...others, kind, path, size, ...time } as StoredEntry;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
