/**
 * The messages between the two ends of a mirror, as bytes (docs/sync-protocol.md). Pure. Decoding checks every length
 * and count against its limit before memory is spent on it; whatever the bytes, it throws nothing but a
 * {@link SyncError} `ERR_PROTOCOL` or `ERR_VERSION`.
 */
import { malformed, Reader, Writer } from "./bytes.js";
import { CHUNK_RECORD_BYTES } from "./chunk.js";
import { unpack } from "./compress.js";
import type { HeldDeletes } from "./delete-guard.js";
import type { Entry } from "./entry.js";
import { SyncError } from "./errors.js";
import {
  FRAME_HEADER_BYTES,
  HELD_SAMPLE,
  HELLO_MAGIC,
  KEEPS_EXECUTABLE,
  KEEPS_FOLDER_TIMES,
  KEEPS_LINK_TIMES,
  KEEPS_VERSIONS,
  KNOWS_CHUNKS,
  LISTED_HASH_BYTES,
  MAX_ASKED_FOLDERS,
  MAX_CHUNKS,
  MAX_DATA_BYTES,
  MAX_DONE_IDS,
  MAX_ID_BYTES,
  MAX_INLINE_BYTES,
  MAX_LISTING_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NAME_BYTES,
  MAX_OFFER_CHUNKS,
  MAX_PACKED_BYTES,
  MAX_PATH_BYTES,
  MAX_SPARE_PAYLOADS,
  MAX_TARGET_BYTES,
  MODE_COUNTS,
} from "./limits.js";
import type { FileIdentity, Message } from "./messages.js";
import { OWNER_EXECUTES, type Permissions } from "./modes.js";
import { LATEST_NS } from "./times.js";
import { KINDS, LIST_FOLDERS, LIST_PERMS, LIST_VERIFIED, REASONS, RELATIONS, readPayload } from "./wire-read.js";

export type { FileIdentity, Hello, Message, MovedFile, Relation, Request, SmallFile, Welcome } from "./messages.js";

/** Number on the wire, largest payload. */
const TYPES: { readonly [type in Message["type"]]: readonly [number, number] } = {
  hello: [1, 4096],
  welcome: [2, 1024],
  error: [3, MAX_MESSAGE_BYTES + MAX_ID_BYTES + 4],
  list: [4, 33],
  entries: [5, MAX_LISTING_BYTES + MAX_PATH_BYTES + MAX_TARGET_BYTES + 32],
  listed: [6, 8],
  same: [7, 8],
  look: [8, MAX_ASKED_FOLDERS * (MAX_PATH_BYTES + 2) + 2],
  folders: [9, MAX_LISTING_BYTES],
  mkdir: [16, MAX_PATH_BYTES + 6],
  link: [17, MAX_PATH_BYTES + MAX_TARGET_BYTES + 16],
  remove: [18, MAX_PATH_BYTES + 7],
  touch: [19, MAX_PATH_BYTES + 32],
  file: [20, MAX_PATH_BYTES + MAX_INLINE_BYTES + 64],
  put: [21, MAX_PATH_BYTES + 32],
  have: [22, 12],
  data: [23, MAX_DATA_BYTES + 4],
  end: [24, 36],
  abort: [25, 4],
  move: [26, 2 * MAX_PATH_BYTES + 70],
  rename: [27, 2 * MAX_PATH_BYTES + 8],
  hold: [28, MAX_PATH_BYTES + 6],
  delta: [29, 2 * MAX_PATH_BYTES + 36],
  copy: [30, 12],
  clone: [31, 2 * MAX_PATH_BYTES + 66],
  chunks: [34, MAX_CHUNKS * CHUNK_RECORD_BYTES + 4],
  offer: [35, MAX_OFFER_CHUNKS * CHUNK_RECORD_BYTES + 4],
  known: [36, Math.ceil(MAX_OFFER_CHUNKS / 8) + 4],
  hole: [37, 12],
  done: [32, 4 * MAX_DONE_IDS + 2],
  fail: [33, MAX_MESSAGE_BYTES + MAX_ID_BYTES + 8],
  settled: [40, 40],
  root: [41, 32],
  place: [45, 1024],
  claim: [42, MAX_ID_BYTES + 2],
  deletes: [43, HELD_SAMPLE * (MAX_PATH_BYTES + 2) + MAX_ID_BYTES + 48],
  approve: [44, MAX_ID_BYTES + 3],
  ping: [48, 4],
  pong: [49, 4],
  bye: [50, 0],
  packed: [51, MAX_PACKED_BYTES + 4],
};

/** What a DATA frame has before its content: header and id. */
const DATA_OVERHEAD_BYTES = FRAME_HEADER_BYTES + 4;
/** The largest DATA frame. */
export const DATA_FRAME_BYTES: number = DATA_OVERHEAD_BYTES + MAX_DATA_BYTES;

const BY_NUMBER: ReadonlyMap<number, readonly [Message["type"], number]> = new Map(
  Object.entries(TYPES).map(([type, [number, most]]) => [number, [type as Message["type"], most]]),
);

/** One message as a frame: type, payload length, payload. Throws `ERR_LIMIT` for what no frame may hold. */
export function encode(message: Message): Buffer {
  const [number, most] = TYPES[message.type];
  const writer = new Writer(estimate(message));
  writer.u8(number);
  writer.u32(0);
  writePayload(writer, message);
  const frame = writer.finish();
  const length = frame.length - FRAME_HEADER_BYTES;
  if (length > most) throw new SyncError("ERR_LIMIT", `a ${message.type} message of ${length} bytes is too long`);
  frame.writeUInt32BE(length, 1);
  return frame;
}

function estimate(message: Message): number {
  if (message.type === "file" || message.type === "data") return message.content.length + 256;
  return message.type === "entries" ? message.entries.length * 64 + 64 : 192;
}

/**
 * A DATA frame to read content into, without a copy: fill `content`, then send `frame`. `memory` has room for
 * {@link DATA_FRAME_BYTES}.
 */
export function dataFrame(id: number, bytes: number, memory: Buffer): { frame: Buffer; content: Buffer } {
  const frame = memory.subarray(0, DATA_OVERHEAD_BYTES + bytes);
  frame.writeUInt8(TYPES.data[0], 0);
  frame.writeUInt32BE(4 + bytes, 1);
  frame.writeUInt32BE(id, FRAME_HEADER_BYTES);
  return { frame, content: frame.subarray(DATA_OVERHEAD_BYTES) };
}

/** How many bytes an entry takes in a listing, at most. */
export function entryBytes(entry: Entry): number {
  return 32 + 3 * (entry.path.length + (entry.kind === "symlink" ? entry.target.length : 0));
}

function writePayload(writer: Writer, message: Message): Writer {
  switch (message.type) {
    case "hello":
      return writer
        .u32(HELLO_MAGIC)
        .u16(message.version)
        .text(message.name, MAX_NAME_BYTES)
        .text(message.clientId, MAX_ID_BYTES)
        .text(message.instanceId, MAX_ID_BYTES)
        .text(message.label, MAX_ID_BYTES)
        .u32(message.features ?? 0)
        .text(message.replaces ?? "", MAX_ID_BYTES)
        .text(message.source ?? "", MAX_ID_BYTES);
    case "welcome":
      return writer
        .u16(message.version)
        .u8(keeps(message))
        .i64(message.mtimeToleranceNs)
        .u32(message.features ?? 0)
        .u8(message.relation === undefined ? 0 : RELATIONS.indexOf(message.relation) + 1)
        .text(message.owner ?? "", MAX_ID_BYTES)
        .time(message.latestNs ?? LATEST_NS);
    case "error":
      return writer.text(message.code, MAX_ID_BYTES).text(message.message, MAX_MESSAGE_BYTES);
    case "entries":
      return message.entries.reduce(writeEntry, writer.u32(message.entries.length));
    case "list":
      return writer.u8(listFlags(message)).raw(message.root);
    case "look":
      return message.folders.reduce((to, path) => to.name(path, MAX_PATH_BYTES), writer.u16(message.folders.length));
    case "folders":
      return message.folders.reduce(
        (to, { path, hash }) => to.raw(hash).name(path, MAX_PATH_BYTES),
        writer.u16(message.folders.length),
      );
    case "listed":
    case "same":
      return writer.u64(message.count);
    case "settled":
      return writer.u64(message.entries).raw(message.root);
    case "root":
      return writer.raw(message.root);
    case "place":
      return writer.text(message.machine, MAX_ID_BYTES).text(message.ids.join(" "), MAX_ID_BYTES);
    case "claim":
      return writer.text(message.source, MAX_ID_BYTES);
    case "deletes":
      return writeHeld(writer, message);
    case "approve":
      return writer.text(message.id, MAX_ID_BYTES).u8(message.approved ? 1 : 0);
    case "done":
      return message.ids.reduce((to, id) => to.u32(id), writer.u16(message.ids.length));
    case "ping":
    case "pong":
      return writer.u32(message.token);
    case "bye":
      return writer;
    case "packed":
      return writer.u32(message.bytes).raw(message.content);
    default:
      return writeStep(writer.u32(message.id), message);
  }
}

function writeStep(writer: Writer, message: Extract<Message, { id: number }>): Writer {
  switch (message.type) {
    case "mkdir":
    case "hold":
      return writer.name(message.path, MAX_PATH_BYTES);
    case "rename":
      return writer.name(message.from, MAX_PATH_BYTES).name(message.path, MAX_PATH_BYTES);
    case "delta":
      return writeIdentity(writer, message).name(message.base, MAX_PATH_BYTES);
    case "copy":
      return writer.u32(message.first).u32(message.count);
    case "chunks":
    case "offer":
      return writer.raw(message.records);
    case "known":
      return writer.raw(message.bits);
    case "move":
      return writeIdentity(writer, message).raw(message.sha256).u32(message.held).name(message.from, MAX_PATH_BYTES);
    case "clone":
      return writeIdentity(writer, message).raw(message.sha256).name(message.from, MAX_PATH_BYTES);
    case "link":
      return writer.time(message.mtimeNs).name(message.path, MAX_PATH_BYTES).name(message.target, MAX_TARGET_BYTES);
    case "remove":
      return writer.u8(KINDS.indexOf(message.kind)).name(message.path, MAX_PATH_BYTES);
    case "touch":
      return writeIdentity(writer.u8(KINDS.indexOf(message.kind)), message);
    case "put":
      return writeIdentity(writer, message);
    case "file":
      return writer
        .u16(modeBits(message))
        .time(message.mtimeNs)
        .name(message.path, MAX_PATH_BYTES)
        .raw(message.sha256)
        .raw(message.content);
    case "have":
      return writer.u64(message.offset);
    case "data":
      return writer.raw(message.content);
    case "hole":
      return writer.u64(message.bytes);
    case "end":
      return writer.raw(message.sha256);
    case "fail":
      return writer.text(message.code, MAX_ID_BYTES).text(message.message, MAX_MESSAGE_BYTES);
    case "abort":
      return writer;
  }
}

function writeHeld(
  writer: Writer,
  { id, reason, files, of, deleted, deletedSince, windowMs, paths }: HeldDeletes,
): Writer {
  writer.text(id, MAX_ID_BYTES).u8(REASONS.indexOf(reason)).u64(files).u64(of).u64(deleted);
  writer
    .u64(deletedSince ?? 0)
    .u64(windowMs)
    .u16(paths.length);
  return paths.reduce((to, path) => to.name(path, MAX_PATH_BYTES), writer);
}

function writeIdentity(writer: Writer, file: FileIdentity): Writer {
  return writer.u16(modeBits(file)).u64(file.size).time(file.mtimeNs).name(file.path, MAX_PATH_BYTES);
}

function writeEntry(writer: Writer, entry: Entry): Writer {
  writer.u8(KINDS.indexOf(entry.kind));
  if (entry.kind === "file") {
    const known = Buffer.alloc(LISTED_HASH_BYTES);
    known.write(entry.sha256 ?? "", "hex");
    return writeIdentity(writer, entry).raw(known);
  }
  const { path, mtimeNs = 0n } = entry;
  if (entry.kind === "symlink") {
    return writer.time(mtimeNs).name(path, MAX_PATH_BYTES).name(entry.target, MAX_TARGET_BYTES);
  }
  return writer
    .u16(modeBits({ ...entry, executable: false }))
    .time(mtimeNs)
    .name(path, MAX_PATH_BYTES);
}

function listFlags({ verify, perms, folders = false }: Message & { type: "list" }): number {
  return (verify ? LIST_VERIFIED : 0) | (perms ? LIST_PERMS : 0) | (folders ? LIST_FOLDERS : 0);
}

function modeBits({ mode, sourceMode = 0, executable }: Permissions): number {
  if (mode !== undefined) return MODE_COUNTS | mode;
  return (sourceMode & ~OWNER_EXECUTES) | (executable ? OWNER_EXECUTES : 0);
}

function keeps({ executable, folderTimes, linkTimes, chunks, versions }: Message & { type: "welcome" }): number {
  const times = (folderTimes ? KEEPS_FOLDER_TIMES : 0) | (linkTimes ? KEEPS_LINK_TIMES : 0);
  const more = (chunks ? KNOWS_CHUNKS : 0) | (versions ? KEEPS_VERSIONS : 0);
  return (executable ? KEEPS_EXECUTABLE : 0) | times | more;
}

/** The payload of a longer DATA frame is put together where the next one will be. */
const LEAST_GATHERED_BYTES = MAX_DATA_BYTES / 4;

/** Turns any sequence of chunks into messages. Holds at most one frame and the chunk in hand. */
export class Decoder {
  #chunks: Buffer[] = [];
  #buffered = 0;
  #type: Message["type"] | undefined;
  #needed = FRAME_HEADER_BYTES;
  /** The payload of a large DATA frame that comes in pieces: they are put together at once, and let go. */
  #partial: Buffer | undefined;
  #filled = 0;
  /** Memory of payloads that was given back, and which memory may be. */
  readonly #spare: Buffer[] = [];
  readonly #lent = new WeakSet<ArrayBufferLike>();
  /** Frames that came compressed and are not yet taken. */
  #inner: Decoder | undefined;

  /** Bytes received and not yet part of a message. */
  get buffered(): number {
    return this.#buffered;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#buffered += chunk.length;
    const rest = this.#fill(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
    if (rest.length > 0) this.#chunks.push(rest);
  }

  /** The next whole message, or `undefined` until more is pushed. Contents may share memory with the chunks. */
  next(): Message | undefined {
    const message = this.#inner === undefined ? this.#next() : this.#nextInner(this.#inner);
    if (message?.type !== "packed") return message;
    const inner = new Decoder();
    inner.push(unpack(message.content, message.bytes));
    this.#inner = inner;
    return this.#nextInner(inner);
  }

  /** Takes the memory of a content back, which nobody looks at any more. What is not ours is left alone. */
  recycle(content: Uint8Array): void {
    if (this.#lent.delete(content.buffer) && this.#spare.length < MAX_SPARE_PAYLOADS) {
      this.#spare.push(Buffer.from(content.buffer));
    }
  }

  #nextInner(inner: Decoder): Message | undefined {
    const message = inner.#next();
    if (message?.type === "packed") throw malformed("compressed frames in compressed frames");
    if (message === undefined && inner.buffered > 0) throw malformed("compressed frames that are not whole");
    if (inner.buffered === 0 && inner.#type === undefined) this.#inner = undefined;
    if (message === undefined) throw malformed("a compressed frame that is not whole");
    return message;
  }

  #next(): Message | undefined {
    if (this.#type === undefined) {
      if (this.#buffered < FRAME_HEADER_BYTES) return undefined;
      const header = this.#take(FRAME_HEADER_BYTES);
      const known = BY_NUMBER.get(header[0] ?? 0);
      const length = header.readUInt32BE(1);
      if (known === undefined) throw malformed(`unknown message type ${header[0]}`);
      if (length > known[1]) throw malformed(`a ${known[0]} message of ${length} bytes`);
      this.#type = known[0];
      this.#needed = length;
    }
    if (this.#buffered < this.#needed) {
      const large = this.#type === "data" && this.#needed > LEAST_GATHERED_BYTES;
      if (large && this.#partial === undefined) this.#gather();
      return undefined;
    }
    const type = this.#type;
    const reader = new Reader(this.#take(this.#needed));
    this.#type = undefined;
    const message = readPayload(reader, type);
    // HELLO and WELCOME may grow in later versions; every other message is exactly as long as it says.
    if (type !== "hello" && type !== "welcome") reader.finish(type);
    return message;
  }

  /** Puts what is there of a payload together. */
  #gather(): void {
    const memory = this.#spare.pop() ?? Buffer.allocUnsafeSlow(TYPES.data[1]);
    this.#lent.add(memory.buffer);
    this.#partial = memory.subarray(0, this.#needed);
    this.#filled = 0;
    for (const chunk of this.#chunks.splice(0)) this.#fill(chunk);
  }

  /** What of `chunk` is not part of the payload that is being put together. */
  #fill(chunk: Buffer): Buffer {
    if (this.#partial === undefined) return chunk;
    const bytes = Math.min(chunk.length, this.#partial.length - this.#filled);
    this.#partial.set(bytes === chunk.length ? chunk : chunk.subarray(0, bytes), this.#filled);
    this.#filled += bytes;
    return chunk.subarray(bytes);
  }

  #take(bytes: number): Buffer {
    this.#buffered -= bytes;
    const gathered = this.#partial;
    this.#partial = undefined;
    if (gathered !== undefined) return gathered;
    const first = this.#chunks[0];
    if (bytes === 0 || first === undefined) return Buffer.alloc(0);
    if (first.length > bytes) {
      this.#chunks[0] = first.subarray(bytes);
      return first.subarray(0, bytes);
    }
    let whole = 0;
    let count = 0;
    while (whole < bytes) whole += this.#chunks[count++]?.length ?? 0;
    const parts = this.#chunks.splice(0, count);
    const joined = parts.length === 1 ? first : Buffer.concat(parts, whole);
    if (whole > bytes) this.#chunks.unshift(joined.subarray(bytes));
    return joined.subarray(0, bytes);
  }
}
