/** Folders to mirror, and what became of them. */
import { createHash, randomFillSync } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when the condition holds; rejects when it does not within so many seconds. */
export async function until(condition: () => boolean, what: string, everyMs = 1, withinSeconds = 240): Promise<void> {
  const deadline = performance.now() + withinSeconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${withinSeconds} s`);
    await sleep(everyMs);
  }
}

/** Files of so many random bytes, so many in a folder. */
export function makeFiles(folder: string, count: number, bytes: number, inEach = 100): string[] {
  const block = Buffer.allocUnsafe(bytes);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const directory = `${Math.floor(i / inEach)}`;
    if (i % inEach === 0) fs.mkdirSync(path.join(folder, directory), { recursive: true });
    fs.writeFileSync(path.join(folder, directory, `${i}`), randomFillSync(block));
    names.push(`${directory}/${i}`);
  }
  return names;
}

export function makeLarge(file: string, mebibytes: number): void {
  const fd = fs.openSync(file, "w");
  const block = Buffer.allocUnsafe(1024 * 1024);
  for (let i = 0; i < mebibytes; i++) fs.writeSync(fd, randomFillSync(block));
  fs.closeSync(fd);
}

/** One hash of all paths and contents, but for syncthing's own. */
export function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  const block = Buffer.allocUnsafe(1024 * 1024);
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    if (name.startsWith(".stfolder")) continue;
    const full = path.join(folder, name);
    hash.update(`${name}\0`);
    if (!fs.statSync(full).isFile()) continue;
    const fd = fs.openSync(full, "r");
    for (let bytes = fs.readSync(fd, block); bytes > 0; bytes = fs.readSync(fd, block))
      hash.update(block.subarray(0, bytes));
    fs.closeSync(fd);
  }
  return hash.digest("hex");
}
