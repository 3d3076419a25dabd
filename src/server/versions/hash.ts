import fs from "node:fs";
import { promisify } from "node:util";
import { hashOf, systemPath } from "../../sync/index.js";

const open = promisify(fs.open);

/** SHA-256 of a file's content, lower-case hex; holes are not read. Rejects with what the system says. */
export async function hashFile(path: string): Promise<string> {
  const fd = await open(systemPath(path), "r");
  try {
    return (await hashOf(fd, fs.fstatSync(fd).size)).toString("hex");
  } finally {
    fs.closeSync(fd);
  }
}
