// A pipeline of one's own: only the images of a folder are mirrored, and of them only what a watcher names from then on.
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "confundo";
import { serve } from "confundo/server";
import { everything, openRemote, pushTo, watchFolder } from "confundo/sync";
import { filter, firstValueFrom, merge, of, shareReplay } from "rxjs";

const [folder, mirrors] = await Promise.all([newFolder(), newFolder()]);
// Without keys, as both ends are here; a real client pairs with its server and uses connectSecurely.
const { address, close } = await serve({ dir: mirrors, port: 0, insecure: true });
const isImage = (path: string): boolean => /\.(png|jpe?g|gif|webp)$/i.test(path);

await writeFile(join(folder, "before.png"), "an image");
await writeFile(join(folder, "notes.txt"), "no image");

const socket = connect({ port: address.port, host: "127.0.0.1", noDelay: true });
const remote = await openRemote(socket, { name: "images", clientId: "example", instanceId: String(process.pid) });
const events = merge(of(everything(folder, "the start")), watchFolder(folder)).pipe(
  filter(({ path }) => path === "" || isImage(path)),
  pushTo(remote, { ignore: (path, directory) => !directory && !isImage(path) }),
  shareReplay({ refCount: true }),
);
const following = events.subscribe((event) => {
  if (event.type === "pushed") console.log(`pushed ${event.path}`);
});

await firstValueFrom(events.pipe(filter(({ type }) => type === "watching")));
await writeFile(join(folder, "more.txt"), "no image either");
await writeFile(join(folder, "later.jpg"), "another image");
await firstValueFrom(events.pipe(filter((event) => event.type === "pushed" && event.path === "later.jpg")));

following.unsubscribe();
await remote.close();
await close();
console.log(`the mirror holds ${(await readdir(join(mirrors, "images"))).sort().join(", ")}`);
await Promise.all([folder, mirrors].map((path) => rm(path, { recursive: true })));

function newFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "confundo-example-"));
}
