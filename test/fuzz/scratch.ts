/** A folder for files that targets read, one for each process and use; it is removed when the process ends. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const MEMORY = "/dev/shm";
let root: string | undefined;

export function scratch(name: string): string {
  if (root === undefined) {
    const made = fs.mkdtempSync(path.join(fs.existsSync(MEMORY) ? MEMORY : os.tmpdir(), "confundo-fuzz-"));
    process.once("exit", () => fs.rmSync(made, { recursive: true, force: true }));
    root = made;
  }
  const folder = path.join(root, name);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}
