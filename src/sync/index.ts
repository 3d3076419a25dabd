/** Folder mirroring as RxJS, over any Node Duplex. */
export {
  DeleteGuard,
  type DeleteGuardOptions,
  type HeldDeletes,
  type HoldReason,
  type Intent,
  type MaxDelete,
  type Verdict as DeleteVerdict,
} from "./delete-guard.js";
export { exhaustionHint } from "./descriptors.js";
export { type Clocks, disruptions } from "./disruption.js";
export type { Comparison, DirectoryEntry, Entry, FileEntry, Kind, SymlinkEntry } from "./entry.js";
export { type Failure, type Losses, SyncError, type SyncErrorCode } from "./errors.js";
export type { MirrorEvent, PushEvent, Step, SyncedSummary } from "./events.js";
export { examine, type Finding } from "./examine.js";
export { type FileLayer, SYSTEM_FILES } from "./file-layer.js";
export { FileSystemFlusher } from "./flush.js";
export { copySparse, Holes, hashOf } from "./holes.js";
export type {
  Admission,
  Admitted,
  Arriving,
  ReceiveEvent,
  ReceiveOptions,
  ReceiveSession,
  StepEvent,
  StoredEntry,
  Ticket,
} from "./hosting.js";
export {
  CONFUNDOIGNORE,
  GITIGNORE,
  type Ignore,
  type IgnoreOptions,
  IgnoreRules,
  ignoreNothing,
  ignorePatterns,
  type Verdict,
} from "./ignore.js";
export { defaultIndexPath, IndexFile } from "./index-file.js";
export { synced, type Transfer, transfers } from "./lifecycle.js";
export { type LiveMirror, liveMirror, type StopOptions, type WhenSyncedOptions } from "./live-mirror.js";
export { type MirrorOptions, mirror } from "./mirror.js";
export { type MoveOptions, planWithMoves } from "./moves.js";
export { nameFromBytes, systemPath } from "./names.js";
export { listPartials, partialId } from "./partials.js";
export { ancestorsOf, parentOf, unsafePath } from "./path.js";
export {
  type Entries,
  type Operation,
  type Plan,
  type PlanOptions,
  type PlanSummary,
  plan,
  summarize,
} from "./plan.js";
export { type PushOptions, pushTo } from "./push.js";
export { absolutePath, realPath } from "./real-path.js";
export { receive } from "./receive.js";
export {
  type Approval,
  type Outcome,
  openRemote,
  type Remote,
  type RemoteOptions,
  type RemoteSession,
} from "./remote.js";
export { Reuse, type ReuseOptions } from "./reuse.js";
export type { Rule } from "./rules.js";
export { fromSocket, relay, type ToSocketOptions, toSocket, writeTo } from "./rx-stream.js";
export {
  type PartialSnapshot,
  type Problem,
  readEntry,
  type ScanOptions,
  type Snapshot,
  scanFolder,
  scanPaths,
} from "./scan.js";
export { type Backoff, type ReconnectOptions, reconnecting, withRemote } from "./session.js";
export { type MirrorProgress, type MirrorState, type MirrorStatus, progress, status } from "./status.js";
export { type Archive, Storage, type StorageOptions } from "./storage.js";
export { type BandwidthLimit, bandwidthLimit } from "./throttle.js";
export { everything, type Hint, type WatchOptions, watchFolder } from "./watch.js";
export { Decoder, encode, type Hello, type Message, type Relation } from "./wire.js";
