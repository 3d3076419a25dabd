/** New versions of large files that begin as clones of the ones before, on file systems that share content. */
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ChunkList, chunkHash, chunkRecord } from "../../../src/sync/chunk.js";
import { type FileLayer, SYSTEM_FILES } from "../../../src/sync/file-layer.js";
import { Storage } from "../../../src/sync/storage.js";
import { Upload } from "../../../src/sync/upload.js";
import { tempFolder } from "../../support/sync-rig.js";

const CHUNK = 128 * 1024;
const sha = (content: Buffer): Buffer => createHash("sha256").update(content).digest();

/** A mirror with one file of eight chunks, on a file system that can or cannot clone. */
function rig(canClone: boolean) {
  const dir = tempFolder();
  let clones = 0;
  const files: FileLayer = {
    ...SYSTEM_FILES,
    clone: async (fd, to) => {
      if (!canClone) return false;
      const content = Buffer.alloc(fs.fstatSync(fd).size);
      fs.readSync(fd, content, 0, content.length, 0);
      fs.writeFileSync(to, content, { flag: "wx", mode: 0o400 });
      clones++;
      return true;
    },
  };
  const storage = new Storage(path.join(dir, "m"), path.join(dir, "staging"), { files });
  storage.prepare();
  const chunks = Array.from({ length: 8 }, () => randomBytes(CHUNK));
  fs.writeFileSync(path.join(dir, "m/f"), Buffer.concat(chunks));
  const list = new ChunkList(Buffer.concat(chunks.map((chunk) => chunkRecord(chunk.length, chunkHash(chunk)))));
  const start = (size: number): Upload => {
    const upload = new Upload(storage, { path: "f", size, mtimeNs: 5n, executable: false });
    upload.buildFrom({ fd: fs.openSync(path.join(dir, "m/f"), "r"), list, replaced: true });
    return upload;
  };
  return { dir, storage, chunks, start, clones: () => clones, staged: () => fs.readdirSync(path.join(dir, "staging")) };
}

describe.each([
  ["with clones", true],
  ["without", false],
])("a new version, %s", (_, canClone) => {
  test.each<[string, (string | number)[]]>([
    ["with more at its end", [0, 1, 2, 3, 4, 5, 6, 7, "new"]],
    ["with another chunk in the middle", [0, 1, 2, "same size", 4, 5, 6, 7]],
    ["that has become shorter", [0, 1, 2]],
    ["with something put in, so that the rest moves", [0, "new", "new", 1, 2, 3, 4, 5, 6, 7]],
    ["in another order", [7, 6, 5, 4, 3, 2, 1, 0]],
    ["with zeros in the place of content", [0, "zeros", 2, "hole", 4, 5, 6, 7]],
    ["that ends in zeros", [0, 1, 2, 3, 4, "zeros", "hole"]],
  ])("%s", async (_name, parts) => {
    const { chunks, start, clones, storage, dir, staged } = rig(canClone);
    const contents = parts.map((part) => {
      if (typeof part === "number") return chunks[part] as Buffer;
      return part === "new" ? randomBytes(CHUNK - 7) : part === "same size" ? randomBytes(CHUNK) : Buffer.alloc(CHUNK);
    });
    const whole = Buffer.concat(contents);
    const upload = start(whole.length);
    await Promise.all(
      parts.map((part, i) => {
        if (typeof part === "number") return upload.copy(part, 1);
        return part === "hole" ? upload.hole(CHUNK) : upload.write(contents[i] as Buffer);
      }),
    );
    const place = await upload.finish(sha(whole));
    expect(fs.readFileSync(place).equals(whole)).toBe(true);
    storage.place(place, "f");
    expect(fs.readFileSync(path.join(dir, "m/f")).equals(whole)).toBe(true);
    expect(staged()).toEqual([]);
    expect(clones()).toBe(canClone ? 1 : 0);
  });

  test("that is interrupted goes on where it was, and holds nothing of the version before", async () => {
    const { chunks, start, staged } = rig(canClone);
    const tail = randomBytes(CHUNK);
    const whole = Buffer.concat([...chunks.slice(0, 3), tail]);
    const upload = start(whole.length);
    await upload.copy(0, 3);
    await upload.close();
    expect(staged()).toEqual([expect.stringMatching(/\.partial$/)]);
    const next = start(whole.length);
    expect(next.have).toBe(3 * CHUNK);
    await next.write(tail);
    expect(fs.readFileSync(await next.finish(sha(whole))).equals(whole)).toBe(true);
  });

  test("that is not what was announced is thrown away", async () => {
    const { start, staged } = rig(canClone);
    const upload = start(3 * CHUNK);
    await upload.copy(0, 3);
    await expect(upload.finish(Buffer.alloc(32))).rejects.toMatchObject({ code: "ERR_CHECKSUM" });
    expect(staged()).toEqual([]);
  });
});
