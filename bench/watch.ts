/**
 * The watchers beside each other: how long it takes until all of a tree is watched, the memory that takes, how long a change
 * takes to be named, and the CPU time of deleting files one by one from a large folder.
 *
 *   node --expose-gc bench/watch.ts [files] [folders]
 */
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { watch } from "chokidar";
import { watchFolder } from "confundo/sync";

type Name = "chokidar" | "folders" | "chokidar, plain";
type Watching = { ready: Promise<void>; onHint: (path: string) => void; close: () => void };

const [filesText = "100000", foldersText = "1000", only] = process.argv.slice(2);
const files = Number(filesText);
const folders = Number(foldersText);

function begin(name: Name, root: string): Watching {
  const watching: Watching = { ready: Promise.resolve(), onHint: () => {}, close: () => {} };
  watching.ready = new Promise((resolve) => {
    if (name === "chokidar, plain") {
      const watcher = watch(root, {
        atomic: false,
        followSymlinks: false,
        ignored: (_, stats) => stats !== undefined && !stats.isDirectory(),
      });
      watcher.on("ready", resolve);
      watcher.on("raw", (_, file, details) =>
        watching.onHint(path.relative(root, path.join((details as { watchedPath: string }).watchedPath, file ?? ""))),
      );
      watching.close = () => void watcher.close();
    } else {
      const subscription = watchFolder(root, { backend: name }).subscribe((hint) => {
        if (hint.ready) resolve();
        else watching.onHint(hint.path);
      });
      watching.close = () => subscription.unsubscribe();
    }
  });
  return watching;
}

async function measure(name: Name): Promise<void> {
  const root = fs.realpathSync(fs.mkdtempSync(path.join(tmpdir(), "watch-bench-")));
  try {
    execFileSync("sh", [
      "-c",
      `cd ${root} && for d in $(seq ${folders}); do mkdir d$d && (cd d$d && touch $(seq -f f%.0f ${files / folders})); done`,
    ]);
    const large = path.join(root, "large");
    fs.mkdirSync(large);
    for (let i = 0; i < 10_000; i++) fs.writeFileSync(path.join(large, `f${i}`), "");
    globalThis.gc?.();
    const before = process.memoryUsage();
    const began = performance.now();
    const watching = begin(name, root);
    await watching.ready;
    const readyMs = performance.now() - began;
    await delay(500);
    globalThis.gc?.();
    const after = process.memoryUsage();
    const latencies: number[] = [];
    for (let i = 0; i < 200; i++) {
      const file = `d${(i % folders) + 1}/f1`;
      const named = new Promise<void>((resolve) => {
        watching.onHint = (hint) => hint === file && resolve();
      });
      const wrote = performance.now();
      fs.appendFileSync(path.join(root, file), "x");
      await named;
      latencies.push(performance.now() - wrote);
      await delay(2);
    }
    latencies.sort((a, b) => a - b);
    watching.onHint = () => {};
    const cpu = process.cpuUsage();
    for (let i = 0; i < 200; i++) {
      fs.rmSync(path.join(large, `f${i}`));
      await delay(5);
    }
    await delay(1000);
    const spent = process.cpuUsage(cpu);
    watching.close();
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1).padStart(6);
    console.log(
      `${name.padEnd(16)} ready ${readyMs.toFixed(0).padStart(5)} ms   heap +${mib(after.heapUsed - before.heapUsed)} MiB   rss +${mib(after.rss - before.rss)} MiB   ` +
        `named after ${latencies[100]?.toFixed(2)} ms (p99 ${latencies[197]?.toFixed(2)})   200 deletions of 10,000: ${((spent.user + spent.system) / 1000).toFixed(0)} ms CPU`,
    );
  } finally {
    fs.rmSync(root, { recursive: true });
  }
}

if (only !== undefined) {
  await measure(only as Name);
  process.exit();
}
console.log(`${files} files in ${folders} folders`);
for (const name of ["folders", "chokidar, plain", "chokidar"])
  spawnSync(process.execPath, ["--expose-gc", process.argv[1] as string, filesText, foldersText, name], {
    stdio: "inherit",
  });
