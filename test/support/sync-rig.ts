/** Real folders, a real mirror home, and connections between them that a test can spoil. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import type { Duplex } from "node:stream";
import { firstValueFrom, lastValueFrom, type Observable, ReplaySubject, toArray } from "rxjs";
import { filter } from "rxjs/operators";
import { onTestFinished } from "vitest";
import { type HomeEvent, MirrorHome, type MirrorHomeOptions } from "../../src/server/home.js";
import { type MirrorEvent, type MirrorOptions, mirror } from "../../src/sync/index.js";
import { linkedPair, type Pair, type PairOptions } from "./duplex-pair.js";

export { until } from "./patience.js";

/** A folder of its own, gone when the test is. */
export function tempFolder(): string {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-sync-")));
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** What to make at a path: content, `null` for a folder, or more. */
export type Made = string | Buffer | null | { link: string } | { content: string; executable: true };

export function make(folder: string, tree: { readonly [path: string]: Made }): void {
  for (const [name, made] of Object.entries(tree)) {
    const full = path.join(folder, name);
    fs.mkdirSync(path.dirname(full), { recursive: true });
    if (made === null) fs.mkdirSync(full, { recursive: true });
    else if (typeof made === "string" || Buffer.isBuffer(made)) fs.writeFileSync(full, made);
    else if ("link" in made) fs.symlinkSync(made.link, full);
    else fs.writeFileSync(full, made.content, { mode: 0o755 });
  }
}

/** Everything in a folder, by path: kind, content (hashed), executable bit, modification time to the microsecond. */
export function contents(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (directory: string): void => {
    for (const name of fs.readdirSync(path.join(folder, directory)).sort()) {
      const inside = directory === "" ? name : `${directory}/${name}`;
      found[inside] = describeEntry(path.join(folder, inside));
      if (found[inside] === "folder") visit(inside);
    }
  };
  visit("");
  return found;
}

function describeEntry(full: string): string {
  const stats = fs.lstatSync(full, { bigint: true });
  if (stats.isDirectory()) return "folder";
  if (stats.isSymbolicLink()) return `link to ${fs.readlinkSync(full)}`;
  if (!stats.isFile()) return "something else";
  const hash = createHash("sha256").update(fs.readFileSync(full)).digest("hex").slice(0, 16);
  return `${stats.mode & 0o100n ? "executable" : "file"} of ${stats.size} ${hash} ${stats.mtimeNs / 1000n}`;
}

/** A mirror home in a folder of its own. */
export function testHome(options: Partial<MirrorHomeOptions> = {}) {
  const dir = options.dir ?? tempFolder();
  const events: HomeEvent[] = [];
  const home = new MirrorHome({ ...options, dir, onEvent: (event) => events.push(event) });
  onTestFinished(() => home.close());
  const pairs: Pair[] = [];
  return {
    home,
    dir,
    events,
    pairs,
    /** Where a mirror is kept. */
    at: (name = "m"): string => path.join(dir, name),
    staged: (name = "m"): string[] => {
      const staging = path.join(dir, ".confundo", "staging", name);
      return fs.existsSync(staging) ? fs.readdirSync(staging) : [];
    },
    /** A connection in memory. */
    connect: (pairOptions: PairOptions = {}) => {
      const pair = linkedPair(pairOptions);
      pairs.push(pair);
      home.handle(pair.server, { peer: "test" });
      return pair.client;
    },
  };
}

/** A home behind a TCP port. */
export async function tcpHome(options: Partial<MirrorHomeOptions> = {}) {
  const rig = testHome(options);
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    rig.home.handle(socket, { peer: "tcp" }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  const { port } = server.address() as net.AddressInfo;
  return { ...rig, port, dial: () => net.connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true }) };
}

/** Counts what a client writes. */
export function counting(connect: () => Duplex) {
  const count = { sent: 0, received: 0 };
  return {
    count,
    connect: (): Duplex => {
      const duplex = connect();
      const write = duplex.write.bind(duplex) as (chunk: Buffer) => boolean;
      duplex.write = ((chunk: Buffer): boolean => {
        count.sent += chunk.length;
        return write(chunk);
      }) as Duplex["write"];
      duplex.on("data", (chunk: Buffer) => (count.received += chunk.length));
      return duplex;
    },
  };
}

/** Mirrors once; all that was reported. */
export function mirrorOnce(
  folder: string,
  connect: MirrorOptions["connect"],
  options: Partial<MirrorOptions> = {},
): Promise<MirrorEvent[]> {
  return lastValueFrom(mirror(folder, { name: "m", connect, once: true, settleMs: 5, ...options }).pipe(toArray()));
}

/** Starts following; ends with the test. */
export function follow(folder: string, connect: MirrorOptions["connect"], options: Partial<MirrorOptions> = {}) {
  const events = new ReplaySubject<MirrorEvent>();
  const seen: MirrorEvent[] = [];
  const source = mirror(folder, { name: "m", connect, settleMs: 10, recheckMs: 100, ...options });
  events.subscribe({ next: (event) => seen.push(event), error: () => {} });
  const subscription = source.subscribe(events);
  onTestFinished(() => subscription.unsubscribe());
  return { seen, subscription, events: events as Observable<MirrorEvent> };
}

/** The next event of a type (or one that was already), perhaps with some property. */
export function event<T extends MirrorEvent["type"]>(
  events: Observable<MirrorEvent>,
  type: T,
  matching: (event: MirrorEvent & { type: T }) => boolean = () => true,
): Promise<MirrorEvent & { type: T }> {
  const wanted = (event: MirrorEvent): event is MirrorEvent & { type: T } =>
    event.type === type && matching(event as MirrorEvent & { type: T });
  return firstValueFrom(events.pipe(filter(wanted)));
}

export function ofType<T extends MirrorEvent["type"]>(events: readonly MirrorEvent[], type: T) {
  return events.filter((event): event is MirrorEvent & { type: T } => event.type === type);
}
