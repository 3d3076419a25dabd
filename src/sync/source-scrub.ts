/**
 * Reads the files of a followed folder again, one after the other, so that each is read once in a given time, and finds those
 * whose content has changed while size, times and inode have not: a program has stored through a memory map to a page that
 * was dirty already, or the disk has changed it.
 */
import type { FileEntry } from "./entry.js";
import { MAX_DATA_BYTES, MAX_SCRUB_WAIT_MS, SCRUB_FILE_BYTES, SCRUB_PIECE_PAUSE_MS } from "./limits.js";
import { readAll, VersionReader } from "./read.js";
import type { Remote } from "./remote.js";
import { type Timing, timingOf } from "./timing.js";

export interface SourceScrubOptions {
  readonly folder: string;
  readonly remote: Pick<Remote, "entries">;
  /** How long one pass takes. Milliseconds. */
  readonly passMs: number;
  /** The file does not hold what the mirror has confirmed (`true`), or it is not known what that is. */
  readonly onSuspect: (file: FileEntry, differs: boolean) => void;
  readonly signal: AbortSignal;
  /** Default: the system's. */
  readonly timing?: Timing;
  /** Where the first pass begins, as a part of all files from 0 to 1. Default: anywhere, as many runs are shorter than a pass. */
  readonly start?: number;
}

/** Resolves when the signal is aborted. */
export async function scrubSource(options: SourceScrubOptions): Promise<void> {
  const { remote, passMs, signal, start = Math.random(), timing = timingOf() } = options;
  const pause = (ms: number) => pauseFor(ms, timing, signal);
  let skip = Math.floor(start * remote.entries.size);
  while (!signal.aborted) {
    let total = 0;
    for (const entry of remote.entries.values()) if (entry.kind === "file") total += weightOf(entry);
    let dueMs = timing.now();
    if (total === 0) await pause(Math.min(passMs, MAX_SCRUB_WAIT_MS));
    for (const entry of remote.entries.values()) {
      if (signal.aborted) return;
      if (skip-- > 0 || entry.kind !== "file") continue;
      await scrubFile(entry, options, pause);
      dueMs += (weightOf(entry) * passMs) / total;
      while (!signal.aborted && timing.now() < dueMs) {
        await pause(Math.min(dueMs - timing.now(), MAX_SCRUB_WAIT_MS));
      }
    }
  }
}

type Pause = (ms: number) => Promise<void>;

async function scrubFile(
  entry: FileEntry,
  { folder, onSuspect, signal }: SourceScrubOptions,
  pause: Pause,
): Promise<void> {
  if (entry.version === undefined) return;
  try {
    const sha256 = await hashGently(await VersionReader.open(folder, entry, signal), signal, pause);
    if (entry.sha256 === undefined) onSuspect(entry, false);
    else if (!sha256.startsWith(entry.sha256)) onSuspect(entry, true);
  } catch {
    // It is another version by now, or cannot be read: the watcher and scans find that.
  }
}

async function hashGently(reader: VersionReader, signal: AbortSignal, pause: Pause): Promise<string> {
  const { size } = reader.entry;
  if (size <= MAX_DATA_BYTES) return (await readAll(reader)).sha256.toString("hex");
  try {
    while (reader.offset < size) {
      await reader.skipTo(Math.min(size, reader.offset + MAX_DATA_BYTES), signal);
      await pause(SCRUB_PIECE_PAUSE_MS);
    }
    return reader.finish().toString("hex");
  } finally {
    reader.close();
  }
}

/** Small files cost more than their bytes. */
function weightOf({ size }: FileEntry): number {
  return size + SCRUB_FILE_BYTES;
}

/** Ends early when the signal is aborted. */
async function pauseFor(ms: number, timing: Timing, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const end = (): void => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = timing.after(ms, end, false);
    signal.addEventListener("abort", end, { once: true });
  });
}
