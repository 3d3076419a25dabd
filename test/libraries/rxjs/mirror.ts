// Mirrors a folder with the program's own copy of rxjs, which has to be the one that the package uses.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { MirrorHome } from "confundo/server";
import { type MirrorEvent, type MirrorOptions, mirror, pushTo, synced, transfers, watchFolder } from "confundo/sync";
import { filter, lastValueFrom, map, Observable, type OperatorFunction, toArray } from "rxjs";

const root = await mkdtemp(join(tmpdir(), "confundo-rxjs-"));
const home = new MirrorHome({ dir: join(root, "home") });
try {
  const folder = await mkdtemp(join(root, "folder-"));
  await writeFile(join(folder, "a.txt"), "content");
  const connect = () => {
    const [client, server] = duplexPair();
    home.handle(server, { peer: "test" });
    return client;
  };
  // With exactOptionalPropertyTypes, too, an option may be said to be as it is by default.
  const { index, bandwidth, backoff }: Partial<MirrorOptions> = {};
  const events = mirror(folder, { name: "m", connect, once: true, index, bandwidth, backoff });
  assert(events instanceof Observable, "the package has another copy of rxjs");
  const pushed = events.pipe(
    filter((event) => event.type === "pushed"),
    map(({ path }) => path),
    toArray(),
  );
  assert.deepEqual(await lastValueFrom(pushed), ["a.txt"]);
  assert.equal(await readFile(join(root, "home", "m", "a.txt"), "utf8"), "content");
  // The operators of the package type-check and compose with those of this copy.
  const composed: OperatorFunction<MirrorEvent, number>[] = [
    (source) =>
      source.pipe(
        synced(),
        map(({ files }) => files),
      ),
    (source) =>
      source.pipe(
        transfers(),
        map(({ size }) => size),
      ),
  ];
  assert.equal(composed.length, 2);
  assert.equal(typeof watchFolder(folder).pipe, "function");
  assert.equal(typeof pushTo, "function");
} finally {
  await home.close();
  await rm(root, { recursive: true });
}
