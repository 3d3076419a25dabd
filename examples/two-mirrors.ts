// Two folders that share a limit, with what a user interface shows of them; an upload that waits until it is safe; and a stop that
// leaves nothing behind. The process tells itself to end, as `systemctl stop` would.
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "confundo";
import { serve } from "confundo/server";
import { bandwidthLimit, liveMirror, progress, status } from "confundo/sync";
import { distinct, filter, firstValueFrom, map, takeWhile, timeout } from "rxjs";

const [photos, music, mirrors] = await Promise.all([newFolder(), newFolder(), newFolder()]);
// Without keys, as both ends are here; a real client pairs with its server and uses connectSecurely.
const { address, close } = await serve({ dir: mirrors, port: 0, insecure: true });
const bandwidth = bandwidthLimit(50_000_000);
const follow = (folder: string, name: string) =>
  liveMirror(folder, {
    name,
    bandwidth,
    connect: () => connect({ port: address.port, host: "127.0.0.1", noDelay: true }),
  });
const lives = [follow(photos, "photos"), follow(music, "music")] as const;

await writeFile(join(photos, "may.jpg"), Buffer.alloc(3_000_000, 1));
await writeFile(join(music, "song.ogg"), Buffer.alloc(5_000_000, 2));

for (const [i, live] of lives.entries()) {
  const name = i === 0 ? "photos" : "music";
  const states = live.events$.pipe(status());
  states.pipe(distinct(({ state }) => state)).subscribe(({ state, error }) => {
    console.log(`${name}: ${error?.message ?? state}`);
  });
  // A progress bar, until it is full for the first time.
  const full = live.events$.pipe(
    progress(),
    takeWhile(({ ratio }) => ratio < 1, true),
    filter(({ ratio }) => ratio === 1),
    map(({ bytesTotal }) => bytesTotal),
  );
  full.subscribe((bytes) => console.log(`${name}: ${bytes} bytes are there`));
}

// What an upload handler does: it answers when the file is durable at the mirror.
await writeFile(join(photos, "upload.jpg"), "a picture");
const safe = await firstValueFrom(lives[0].whenSynced("upload.jpg", { mustExist: true }).pipe(timeout(30_000)));
console.log(`${safe} is safe`);

const told = once(process, "SIGTERM");
process.kill(process.pid, "SIGTERM");
await told;
await writeFile(join(music, "last.ogg"), "written a moment before the end");
await Promise.all(lives.map((live) => live.stop()));
await close();
console.log(`music has ${(await readdir(join(mirrors, "music"))).sort().join(", ")}`);
await Promise.all([photos, music, mirrors].map((folder) => rm(folder, { recursive: true })));

function newFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "confundo-example-"));
}
