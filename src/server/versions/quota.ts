/** How much a folder holds and may hold, while a session changes it. */
import { lstatSync } from "node:fs";
import { type ReceiveEvent, SyncError, systemPath } from "../../sync/index.js";

interface Expected {
  readonly bytes: number;
  /** Of what it replaces. */
  replaced: number;
  readonly since: number;
}

export class Quota {
  readonly #name: string;
  readonly #root: string;
  readonly #quotaBytes: number | null;
  #used: number;
  /** Files on their way in. */
  readonly #expected = new Map<string, Expected>();
  #growing = 0;

  constructor(name: string, root: string, used: number, quotaBytes: number | null) {
    this.#name = name;
    this.#root = root;
    this.#used = used;
    this.#quotaBytes = quotaBytes;
  }

  /** Throws `ERR_QUOTA` where the folder would hold more than it may. Kept versions do not count. */
  admit(path: string, bytes: number): void {
    this.#forget(path);
    // Where everything is admitted, nobody need know what there was.
    const replaced = this.#quotaBytes === null ? 0 : sizeOf(`${this.#root}/${path}`);
    const grown = bytes - replaced;
    if (this.#quotaBytes !== null && grown > 0 && this.#used + this.#growing + grown > this.#quotaBytes) {
      throw new SyncError(
        "ERR_QUOTA",
        `the mirror "${this.#name}" may hold ${inUnits(this.#quotaBytes)} and holds ${inUnits(this.#used)}: ` +
          `there is no room for ${inUnits(bytes)} more`,
        { path },
      );
    }
    this.#expected.set(path, { bytes, replaced, since: Date.now() });
    this.#growing += grown;
  }

  /** What stood at the path is about to go. */
  retired(path: string, bytes: number): void {
    this.#used -= bytes;
    const expected = this.#expected.get(path);
    if (expected === undefined) return;
    this.#growing += expected.replaced;
    expected.replaced = 0;
  }

  /** When the transfer that the event ends began, where that is known. */
  tell(event: ReceiveEvent): number | undefined {
    if (event.type !== "stored" && event.type !== "failed" && event.type !== "changed") return undefined;
    const since = this.#forget(event.path);
    if (event.type === "stored") this.#used += event.bytes;
    return since;
  }

  #forget(path: string): number | undefined {
    const expected = this.#expected.get(path);
    if (expected === undefined) return undefined;
    this.#expected.delete(path);
    this.#growing -= expected.bytes - expected.replaced;
    return expected.since;
  }
}

/** Of a file; of nothing, and of what is below something that is no folder (yet), 0. */
function sizeOf(place: string): number {
  try {
    const stats = lstatSync(systemPath(place), { throwIfNoEntry: false });
    return stats?.isFile() ? stats.size : 0;
  } catch {
    return 0;
  }
}

/** Bytes for people: whole numbers of the largest unit (of 1024) that leaves at least ten of it. */
function inUnits(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.max(0, Math.min(4, Math.floor(Math.log2(bytes / 10) / 10)));
  return `${Math.round(bytes / 1024 ** unit)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}
