/** What a session tells, as rows of the database. Pure. */
import type { ReceiveEvent, StoredEntry } from "../../sync/index.js";
import type { FileChange, FileRecord, LoggedEvent } from "../database/types.js";

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
