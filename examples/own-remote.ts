// A remote of one's own: whatever has entries and can apply operations is a destination. This one keeps hashes.
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Entry, everything, type Operation, type Outcome, pushTo, type Remote, SyncError } from "confundo/sync";
import { concatMap, filter, from, lastValueFrom, type Observable, of } from "rxjs";

class HashRemote implements Remote {
  /** What it holds, as a pusher compares it with the folder. */
  readonly entries = new Map<string, Entry>();
  readonly comparison = { executable: false };
  readonly hashes = new Map<string, string>();

  /** One outcome for each operation; concatMap carries them out one after the other, and unsubscribing stops it. */
  apply(folder: string, operations: readonly Operation[]): Observable<Outcome> {
    return from(operations).pipe(concatMap((operation) => this.#apply(folder, operation)));
  }

  settled(): void {
    console.log(`in step: ${[...this.entries.keys()].sort().join(", ")}`);
  }

  async #apply(folder: string, operation: Operation): Promise<Outcome> {
    const { path } = operation.entry;
    try {
      if (operation.do === "remove") {
        this.entries.delete(path);
        this.hashes.delete(path);
      } else {
        if (operation.do === "put") this.hashes.set(path, sha256(await readFile(join(folder, path))));
        this.entries.set(path, operation.entry);
      }
      return { type: "done", operation };
    } catch (error) {
      return { type: "failed", operation, error: new SyncError("ERR_UNREADABLE", String(error), { path }) };
    }
  }
}

const folder = await mkdtemp(join(tmpdir(), "confundo-example-"));
const remote = new HashRemote();
const push = () => lastValueFrom(of(everything(folder, "a look")).pipe(pushTo(remote), filter(isSynced)));

await Promise.all(["a", "b"].map((name) => writeFile(join(folder, name), `content of ${name}`)));
console.log(`first: ${(await push()).files} files`);
await rename(join(folder, "b"), join(folder, "c"));
const { files, deleted } = await push();
console.log(`then: ${files} files, ${deleted} deleted; a is ${remote.hashes.get("a")?.slice(0, 8)}`);
await rm(folder, { recursive: true });

function isSynced<T extends { type: string }>(event: T): event is T & { type: "synced" } {
  return event.type === "synced";
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
