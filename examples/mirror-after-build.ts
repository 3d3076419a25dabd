// A build writes many files and says when it is done: only whole builds are mirrored, never one in the making.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "confundo";
import { serve } from "confundo/server";
import { mirror, synced } from "confundo/sync";
import { concatMap, from, lastValueFrom, tap } from "rxjs";

const [folder, mirrors] = await Promise.all([newFolder(), newFolder()]);
// Without keys, as both ends are here; a real client pairs with its server and uses connectSecurely.
const { address, close } = await serve({ dir: mirrors, port: 0, insecure: true });

const mirrored = (version: string) =>
  mirror(join(folder, "dist"), {
    connect: () => connect({ port: address.port, host: "127.0.0.1", noDelay: true }),
    name: "dist",
    once: true,
  }).pipe(
    synced(),
    tap(({ files, deleted }) => console.log(`${version} is there: ${files} files sent, ${deleted} deleted`)),
  );

// concatMap: a build waits until the one before has arrived.
const builds = from(["1.0", "1.1", "2.0"]).pipe(
  concatMap((version) => from(build(version)).pipe(concatMap(() => mirrored(version)))),
);
await lastValueFrom(builds);

console.log(`the mirror has version ${await readFile(join(mirrors, "dist", "version"), "utf8")}`);
await close();
await Promise.all([folder, mirrors].map((path) => rm(path, { recursive: true })));

async function build(version: string): Promise<void> {
  await rm(join(folder, "dist"), { recursive: true, force: true });
  await mkdir(join(folder, "dist"));
  await writeFile(join(folder, "dist", "version"), version);
  await writeFile(join(folder, "dist", `app-${version}.js`), `console.log("version ${version}, built a moment ago")\n`);
}

function newFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "confundo-example-"));
}
