/**
 * A mirror with both ends in one process, and the things that may happen to it. Nothing here knows how a mirror works: a
 * history is told to it command by command, and when it is quiet both folders are compared.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Subject, type Subscription } from "rxjs";
import { MirrorHome } from "../../src/server/home.js";
import { setsExactTimes } from "../../src/sync/disk.js";
import { everything, type Hint, type MirrorOptions, mirror } from "../../src/sync/index.js";
import { linkedPair, type Pair } from "./duplex-pair.js";
import { differences, snapshot } from "./snapshot.js";
import type { VirtualTime } from "./virtual-time.js";

/** How long both sides may take to become equal when nothing happens any more, in real and in virtual time. */
const QUIET_MS = 20_000;
const VIRTUAL_QUIET_MS = 1_800_000;
const LOOK_EVERY_MS = 2;
const VIRTUAL_LOOK_EVERY_MS = 500;
/** Real time is not waited for. */
const HASTE: Partial<MirrorOptions> = {
  settleMs: 1,
  recheckMs: 60_000,
  retryMs: 20,
  backoff: { firstMs: 2, mostMs: 20 },
};
const MEMORY = "/dev/shm";

/** Where histories take place: in memory where the system offers that, unless CONFUNDO_DISK asks for a disk. */
function place(): string {
  return process.env.CONFUNDO_DISK === undefined && fs.existsSync(MEMORY) ? MEMORY : os.tmpdir();
}

export class History {
  readonly #work = fs.mkdtempSync(path.join(place(), "confundo-history-"));
  readonly folder = this.#below("source");
  readonly outside = this.#below("outside");
  readonly #dir = this.#below("home");
  readonly #hints = new Subject<Hint>();
  readonly #pairs = new Set<Pair>();
  /** Hashes of all that a file may hold at the destination: what was once a whole file here, or was put there. */
  readonly #whole = new Set<string>();
  readonly #outsideBefore: Map<string, unknown>;
  #home = new MirrorHome({ dir: this.#dir });
  #client: Subscription | undefined;
  #cut = false;
  #written = 0;
  #failure: unknown;

  readonly #time: VirtualTime | undefined;

  /** With virtual time a mirror waits as long as it does for its users. */
  constructor(time?: VirtualTime) {
    this.#time = time;
    fs.writeFileSync(path.join(this.outside, "file"), "outside");
    fs.mkdirSync(path.join(this.outside, "d"));
    fs.writeFileSync(path.join(this.outside, "d/f"), "outside");
    this.#outsideBefore = snapshot(this.outside);
    this.startClient();
  }

  get copy(): string {
    return path.join(this.#dir, "m");
  }

  // ---- what happens to the folder ------------------------------------------------------------------------------------

  /** Changes the folder, if it can be changed so. The watcher may lose it. */
  change(paths: readonly string[], told: boolean, act: (at: (name: string) => string) => void): void {
    possible(() => act((name) => within(this.folder, name)));
    this.#remember(this.folder);
    if (!told) return;
    for (const name of paths) this.#hints.next({ folder: this.folder, path: name, reason: "rename" });
  }

  /** Some content that was never there before, of so many bytes. */
  content(bytes: number): Buffer {
    const content = Buffer.alloc(bytes, `${++this.#written} `);
    if (bytes > 4) content.writeUInt32BE(this.#written, bytes - 4);
    return content;
  }

  // ---- what happens to the mirror ------------------------------------------------------------------------------------

  startClient(): void {
    this.#client = mirror(this.folder, {
      name: "m",
      clientId: "client",
      index: path.join(this.#work, "index"),
      connect: () => this.#connect(),
      watch: () => this.#hints,
      allowMassDelete: true,
      ...(this.#time === undefined ? HASTE : { scheduler: this.#time.scheduler, clocks: this.#time.clocks }),
    }).subscribe({
      error: (error) => {
        this.#failure = error;
      },
    });
  }

  /** As kill -9: no farewell. Another run goes on. */
  killClient(): void {
    this.#cutAll();
    this.#client?.unsubscribe();
    this.startClient();
  }

  /** What it had in hand is gone; the next one has the same folder. */
  async killServer(): Promise<void> {
    const before = this.#home;
    this.#cutAll();
    await before.close();
    this.#home = new MirrorHome({ dir: this.#dir });
  }

  cut(): void {
    this.#cut = true;
    this.#cutAll();
  }

  /** Nothing arrives any more, and nobody is told: it takes its time until that is noticed. */
  silence(): void {
    if (this.#time === undefined) this.#cutAll();
    else for (const pair of this.#pairs) pair.silence();
  }

  heal(): void {
    this.#cut = false;
  }

  /**
   * Changes the destination, behind the server's back. It is looked at anew when the client comes again, which in real time
   * has to be at once.
   */
  tamper(act: (there: (name: string) => string) => void): void {
    if (!fs.existsSync(this.copy)) return;
    possible(() => act((name) => within(this.copy, name)));
    this.#remember(this.copy);
    if (this.#time === undefined) this.#cutAll();
  }

  // ---- what is to be so ----------------------------------------------------------------------------------------------

  /** No torn file, and nothing done outside. Throws what is not so. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    const outside = differences(this.#outsideBefore as ReturnType<typeof snapshot>, snapshot(this.outside));
    if (outside.length > 0) throw new Error(`what is outside was changed: ${outside.join("; ")}`);
    if (!fs.existsSync(this.copy)) return;
    for (const [name, { kind, content }] of lookAt(this.copy)) {
      if (kind === "file" && !this.#whole.has(content)) throw new Error(`${name} is torn at the destination`);
    }
  }

  /** Nothing happens any more: both sides become equal, and stay so. */
  async quiet(): Promise<void> {
    this.heal();
    const virtual = this.#time !== undefined;
    const deadline = performance.now() + (virtual ? VIRTUAL_QUIET_MS : QUIET_MS);
    this.#hints.next(everything(this.folder, "it is quiet"));
    for (let equal = 0; equal < 2; ) {
      this.check();
      const found = this.#differences();
      equal = found.length === 0 ? equal + 1 : 0;
      if (performance.now() > deadline) throw new Error(`never equal: ${found.join("; ")}`);
      await wait(virtual ? VIRTUAL_LOOK_EVERY_MS : LOOK_EVERY_MS);
    }
  }

  async end(): Promise<void> {
    this.#client?.unsubscribe();
    await this.#home.close();
    fs.rmSync(this.#work, { recursive: true, force: true, maxRetries: 3 });
  }

  #below(name: string): string {
    fs.mkdirSync(path.join(this.#work, name));
    return path.join(this.#work, name);
  }

  #connect() {
    if (this.#cut) throw new Error("the network is cut");
    const pair = linkedPair();
    this.#pairs.add(pair);
    pair.client.once("close", () => this.#pairs.delete(pair));
    this.#home.handle(pair.server);
    return pair.client;
  }

  #cutAll(): void {
    for (const pair of this.#pairs) pair.cut();
    this.#pairs.clear();
  }

  #remember(folder: string): void {
    for (const { kind, content } of lookAt(folder).values()) if (kind === "file") this.#whole.add(content);
  }

  #differences(): string[] {
    if (!fs.existsSync(this.copy)) return fs.readdirSync(this.folder).length === 0 ? [] : ["there is no mirror yet"];
    return differences(lookAt(this.folder), lookAt(this.copy));
  }
}

export function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What comes and goes while we look is looked at again. */
function lookAt(folder: string): ReturnType<typeof snapshot> {
  for (;;) {
    try {
      const found = snapshot(folder);
      if (setsExactTimes()) return found;
      const rounded = (ns: bigint): bigint => ns - (((ns % 1000n) + 1000n) % 1000n);
      return new Map([...found].map(([name, entry]) => [name, { ...entry, mtimeNs: rounded(entry.mtimeNs) }]));
    } catch (error) {
      if (!["ENOENT", "ENOTDIR", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
}

/** A path that leads through no link, so that the test itself touches nothing outside. */
function within(folder: string, name: string): string {
  const parts = name.split("/");
  for (let i = 1; i < parts.length; i++) notLink(path.join(folder, ...parts.slice(0, i)));
  return path.join(folder, name);
}

/** Throws where a link is, through which what is to be done would be done elsewhere. */
export function notLink(file: string): string {
  if (!fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink()) return file;
  throw Object.assign(new Error(`${file} is a link`), { code: "ELOOP" });
}

/** What the file system refuses does not happen. */
function possible(act: () => void): void {
  try {
    act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}
