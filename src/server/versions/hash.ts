import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { systemPath } from "../../sync/index.js";

/** SHA-256 of a file's content, lower-case hex. Rejects with what the system says. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(systemPath(path), { highWaterMark: 1 << 18 }), hash);
  return hash.digest("hex");
}
