/** The payloads of messages, read. Part of wire.ts. Pure. */
import { malformed, type Reader } from "./bytes.js";
import type { HeldDeletes, HoldReason } from "./delete-guard.js";
import type { Entry, Kind } from "./entry.js";
import {
  FILE_MODE,
  FOLDER_MODE,
  HELD_SAMPLE,
  HELLO_MAGIC,
  KEEPS_EXECUTABLE,
  KEEPS_FOLDER_TIMES,
  KEEPS_LINK_TIMES,
  KEEPS_VERSIONS,
  KNOWS_CHUNKS,
  LISTED_HASH_BYTES,
  MAX_HOLE_BYTES,
  MAX_ID_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NAME_BYTES,
  MAX_PATH_BYTES,
  MAX_TARGET_BYTES,
  MODE_COUNTS,
} from "./limits.js";
import type { FileIdentity, Hello, Message, Relation } from "./messages.js";
import { OWNER_EXECUTES, type Permissions } from "./modes.js";
import { ROOT_BYTES } from "./roots.js";
import { LATEST_NS } from "./times.js";

export const KINDS: readonly Kind[] = ["file", "directory", "symlink"];
/** In WELCOME, from 1 on. */
export const RELATIONS: readonly Relation[] = ["nobody", "same", "place", "another"];
/** In DELETES. */
export const REASONS: readonly HoldReason[] = ["limit", "empty", "unfamiliar", "unmounted"];
export const SHA256_BYTES = 32;
/** In LIST. */
export const LIST_VERIFIED = 1;
export const LIST_PERMS = 2;
export const LIST_FOLDERS = 4;

/** The payload of a message of a type, which may have been sent by anybody. */
export function readPayload(reader: Reader, type: Message["type"]): Message {
  switch (type) {
    case "hello":
      return readHello(reader);
    case "welcome":
      return readWelcome(reader);
    case "error":
      return { type, code: reader.text(MAX_ID_BYTES), message: reader.text(MAX_MESSAGE_BYTES) };
    case "entries":
      return { type, entries: readEntries(reader) };
    case "list":
      return readList(reader);
    case "listed":
    case "same":
      return { type, count: reader.u64() };
    case "look":
      return { type, folders: readEach(reader, 2, () => reader.name(MAX_PATH_BYTES)) };
    case "folders":
      return { type, folders: readEach(reader, LISTED_HASH_BYTES + 2, () => readFolderHash(reader)) };
    case "settled":
      return { type, entries: reader.u64(), root: reader.raw(ROOT_BYTES) };
    case "root":
      return { type, root: reader.raw(ROOT_BYTES) };
    case "place": {
      const machine = reader.text(MAX_ID_BYTES);
      return { type, machine, ids: reader.text(MAX_ID_BYTES).split(" ") };
    }
    case "claim":
      return { type, source: reader.text(MAX_ID_BYTES) };
    case "deletes":
      return { type, ...readHeld(reader) };
    case "approve":
      return { type, id: reader.text(MAX_ID_BYTES), approved: reader.u8() !== 0 };
    case "done":
      return { type, ids: readIds(reader) };
    case "ping":
    case "pong":
      return { type, token: reader.u32() };
    case "bye":
      return { type };
    case "packed":
      return { type, bytes: reader.u32(), content: reader.rest() };
    default:
      return readStep(reader, type, reader.u32());
  }
}

function readHello(reader: Reader): Hello {
  if (reader.u32() !== HELLO_MAGIC) throw malformed("the peer does not speak the mirror protocol");
  const version = reader.u16();
  const name = reader.text(MAX_NAME_BYTES);
  const clientId = reader.text(MAX_ID_BYTES);
  const instanceId = reader.text(MAX_ID_BYTES);
  const label = reader.text(MAX_ID_BYTES);
  const features = readFeatures(reader);
  const replaces = reader.left < 2 ? "" : reader.text(MAX_ID_BYTES);
  const source = reader.left < 2 ? "" : reader.text(MAX_ID_BYTES);
  return {
    type: "hello",
    version,
    name,
    clientId,
    instanceId,
    label,
    ...features,
    ...(replaces === "" ? {} : { replaces }),
    ...(source === "" ? {} : { source }),
  };
}

function readWelcome(reader: Reader): Message {
  const version = reader.u16();
  const kept = reader.u8();
  return {
    type: "welcome",
    version,
    executable: (kept & KEEPS_EXECUTABLE) !== 0,
    folderTimes: (kept & KEEPS_FOLDER_TIMES) !== 0,
    linkTimes: (kept & KEEPS_LINK_TIMES) !== 0,
    ...((kept & KNOWS_CHUNKS) === 0 ? {} : { chunks: true }),
    ...((kept & KEEPS_VERSIONS) === 0 ? {} : { versions: true }),
    mtimeToleranceNs: reader.i64(),
    ...readFeatures(reader),
    ...readOwner(reader),
    ...readLatest(reader),
  };
}

/** Older servers do not know. */
function readOwner(reader: Reader): { relation?: Relation; owner?: string } {
  if (reader.left < 3) return {};
  const relation = RELATIONS[reader.u8() - 1];
  const owner = reader.text(MAX_ID_BYTES);
  if (relation === undefined) return {};
  return { relation, ...(owner === "" ? {} : { owner }) };
}

/** Older servers do not say. */
function readLatest(reader: Reader): { latestNs?: bigint } {
  const latestNs = reader.left < 8 ? LATEST_NS : reader.time();
  return latestNs === LATEST_NS ? {} : { latestNs };
}

function readHeld(reader: Reader): HeldDeletes {
  const id = reader.text(MAX_ID_BYTES);
  const reason = REASONS[reader.u8()];
  if (reason === undefined) throw malformed("an unknown reason to hold deletes back");
  const [files, of, deleted, since, windowMs] = [reader.u64(), reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  const paths = readEach(reader, 2, () => reader.name(MAX_PATH_BYTES));
  if (paths.length > HELD_SAMPLE) throw malformed(`${paths.length} paths of deletes that are held back`);
  return { id, reason, files, of, deleted, ...(since === 0 ? {} : { deletedSince: since }), windowMs, paths };
}

/** Older peers do not say. */
function readFeatures(reader: Reader): { features?: number } {
  const features = reader.left < 4 ? 0 : reader.u32();
  return features === 0 ? {} : { features };
}

function readStep(reader: Reader, type: Extract<Message, { id: number }>["type"], id: number): Message {
  switch (type) {
    case "mkdir":
    case "hold":
      return { type, id, path: reader.name(MAX_PATH_BYTES) };
    case "rename": {
      const from = reader.name(MAX_PATH_BYTES);
      return { type, id, path: reader.name(MAX_PATH_BYTES), from };
    }
    case "delta": {
      const file = readIdentity(reader);
      return { type, id, ...file, base: reader.name(MAX_PATH_BYTES) };
    }
    case "copy": {
      const first = reader.u32();
      return { type, id, first, count: reader.u32() };
    }
    case "chunks":
    case "offer":
      return { type, id, records: reader.rest() };
    case "known":
      return { type, id, bits: reader.rest() };
    case "move": {
      const file = readIdentity(reader);
      const sha256 = reader.raw(SHA256_BYTES);
      const held = reader.u32();
      return { type, id, ...file, sha256, held, from: reader.name(MAX_PATH_BYTES) };
    }
    case "clone": {
      const file = readIdentity(reader);
      const sha256 = reader.raw(SHA256_BYTES);
      return { type, id, ...file, sha256, from: reader.name(MAX_PATH_BYTES) };
    }
    case "link":
      return { type, id, ...readLink(reader) };
    case "remove":
      return { type, id, kind: readKind(reader), path: reader.name(MAX_PATH_BYTES) };
    case "touch": {
      const kind = readKind(reader);
      if (kind === "symlink") throw malformed("attributes for a link");
      return { type, id, kind, ...readIdentity(reader) };
    }
    case "put":
      return { type, id, ...readIdentity(reader) };
    case "file": {
      const mode = readMode(reader);
      const mtimeNs = reader.time();
      const path = reader.name(MAX_PATH_BYTES);
      return { type, id, path, mtimeNs, ...mode, sha256: reader.raw(SHA256_BYTES), content: reader.rest() };
    }
    case "have":
      return { type, id, offset: reader.u64() };
    case "data":
      return { type, id, content: reader.rest() };
    case "hole": {
      const bytes = reader.u64();
      if (bytes > MAX_HOLE_BYTES)
        throw malformed(`a hole of ${bytes} bytes where at most ${MAX_HOLE_BYTES} are allowed`);
      return { type, id, bytes };
    }
    case "end":
      return { type, id, sha256: reader.raw(SHA256_BYTES) };
    case "fail":
      return { type, id, code: reader.text(MAX_ID_BYTES), message: reader.text(MAX_MESSAGE_BYTES) };
    case "abort":
      return { type, id };
  }
}

function readIdentity(reader: Reader): FileIdentity {
  const mode = readMode(reader);
  const size = reader.u64();
  const mtimeNs = reader.time();
  return { path: reader.name(MAX_PATH_BYTES), size, mtimeNs, ...mode };
}

function readLink(reader: Reader): { path: string; target: string; mtimeNs: bigint } {
  const mtimeNs = reader.time();
  const path = reader.name(MAX_PATH_BYTES);
  return { path, target: reader.name(MAX_TARGET_BYTES), mtimeNs };
}

function readFolder(reader: Reader): { path: string; mode?: number; mtimeNs: bigint } {
  const { mode } = readMode(reader);
  const mtimeNs = reader.time();
  return { path: reader.name(MAX_PATH_BYTES), mtimeNs, ...(mode === undefined ? {} : { mode }) };
}

function readMode(reader: Reader): Permissions {
  const bits = reader.u16();
  if ((bits & ~(MODE_COUNTS | FILE_MODE | FOLDER_MODE)) !== 0) throw malformed("unknown permission bits");
  const executable = (bits & OWNER_EXECUTES) !== 0;
  if ((bits & MODE_COUNTS) !== 0) return { executable, mode: bits & ~MODE_COUNTS };
  // Older clients send no other bit than that.
  return (bits & ~OWNER_EXECUTES) === 0 ? { executable } : { executable, sourceMode: bits };
}

function readEntries(reader: Reader): Entry[] {
  // An entry takes at least 3 bytes, so the count cannot make us hold more than the payload justifies.
  const count = reader.count(reader.u32(), 3);
  const entries: Entry[] = [];
  for (let i = 0; i < count; i++) {
    const kind = readKind(reader);
    if (kind === "file") entries.push({ kind, ...readIdentity(reader), ...readHash(reader) });
    else if (kind === "directory") entries.push({ kind, ...readFolder(reader) });
    else entries.push({ kind, ...readLink(reader) });
  }
  return entries;
}

function readHash(reader: Reader): { sha256?: string } {
  const known = reader.raw(LISTED_HASH_BYTES);
  return known.every((byte) => byte === 0) ? {} : { sha256: known.toString("hex") };
}

/** `least`: how many bytes each takes at least, so that the count cannot make us hold more than the payload justifies. */
function readEach<T>(reader: Reader, least: number, read: () => T): T[] {
  return Array.from({ length: reader.count(reader.u16(), least) }, read);
}

function readFolderHash(reader: Reader): { path: string; hash: Uint8Array } {
  const hash = reader.raw(LISTED_HASH_BYTES);
  return { path: reader.name(MAX_PATH_BYTES), hash };
}

function readList(reader: Reader): Message {
  const flags = reader.u8();
  if (flags > (LIST_VERIFIED | LIST_PERMS | LIST_FOLDERS)) throw malformed("unknown flags");
  const root = reader.raw(ROOT_BYTES);
  const flagged = { verify: (flags & LIST_VERIFIED) !== 0, perms: (flags & LIST_PERMS) !== 0 };
  return { type: "list", root, ...flagged, ...((flags & LIST_FOLDERS) === 0 ? {} : { folders: true }) };
}

function readIds(reader: Reader): number[] {
  const count = reader.count(reader.u16(), 4);
  return Array.from({ length: count }, () => reader.u32());
}

function readKind(reader: Reader): Kind {
  const kind = KINDS[reader.u8()];
  if (kind === undefined) throw malformed("an unknown kind of entry");
  return kind;
}
