/** A folder, a mirror of it at a server, and the programs between them: what the scenarios are told with. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test as base, expect } from "vitest";
import { PATIENCE_MS } from "./limits.js";
import { type Exit, type Program, Rig, type StartOptions } from "./program.js";
import { type Described, type DifferenceOptions, differences, type SnapshotOptions, snapshot } from "./snapshot.js";

/** One line of a table: what a user would say, and how it is tried. */
export type Scenario = readonly [name: string, run: (mirrored: Mirrored) => void | Promise<void>];
/** What is there before, what happens while it is followed; then both sides are to be equal. */
export type Change = readonly [name: string, before: Act, change: Act];
type Act = (mirrored: Mirrored) => void | Promise<void>;

/** A server that several mirrors share. */
export interface Shared {
  readonly home: string;
  readonly port: string;
  readonly server: Program;
}

const LOOK_EVERY_MS = 50;

/** Even root obeys permissions without these capabilities. */
const ROOT_S = "--bounding-set=-dac_override,-dac_read_search,-fowner";
export const OBEDIENT: readonly string[] = process.getuid?.() === 0 ? ["setpriv", ROOT_S] : [];

let names = 0;

export class Mirrored {
  readonly rig: Rig;
  readonly shared: Shared;
  readonly name = `m${++names}`;
  /** The folder that is mirrored. */
  readonly folder: string;
  /** Where its mirror is. */
  readonly copy: string;
  readonly address: string;

  constructor(rig: Rig, shared: Shared) {
    this.rig = rig;
    this.shared = shared;
    this.folder = rig.folder();
    this.copy = path.join(shared.home, this.name);
    this.address = `confundo://127.0.0.1:${shared.port}/${this.name}`;
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  /** Where the mirror has it. */
  there(name: string): string {
    return path.join(this.copy, name);
  }

  /** Writes files, with the folders above them; a name that ends with a slash is a folder. */
  write(tree: Readonly<Record<string, string | Buffer>>, folder: string = this.folder): void {
    for (const [name, content] of Object.entries(tree)) {
      const full = path.join(folder, name);
      fs.mkdirSync(name.endsWith("/") ? full : path.dirname(full), { recursive: true });
      if (!name.endsWith("/")) fs.writeFileSync(full, content);
    }
  }

  /** Mirrors once. */
  once(...more: string[]): Promise<Exit> {
    return this.onceWith({}, ...more);
  }

  onceWith(options: StartOptions, ...more: string[]): Promise<Exit> {
    return this.rig.run(["mirror", this.folder, this.address, "--once", ...more], options);
  }

  /** Mirrors once, without any trouble. */
  async mirrored(...more: string[]): Promise<void> {
    expect(await this.once(...more)).toMatchObject({ code: 0, stderr: "" });
  }

  /** Follows the folder; resolves when the watches are in place and everything is at the destination. */
  async follow(...more: string[]): Promise<Following> {
    const program = this.rig.start(["mirror", this.folder, this.address, "--json", ...more]);
    await program.printed(/"type":"watching"/);
    await program.printed(/"type":"synced"/);
    return new Following(program);
  }

  /** Waits until both sides are equal, byte for byte, with nothing left over; says what differs where they never are. */
  async equal(options: DifferenceOptions & SnapshotOptions & { readonly withinMs?: number } = {}): Promise<void> {
    const deadline = performance.now() + (options.withinMs ?? PATIENCE_MS);
    const compare = (content: boolean): string[] => this.differences({ ...options, content });
    for (;;) {
      const began = performance.now();
      const found = settled(() => (compare(false).length > 0 ? ["not yet"] : [...compare(true), ...this.leftovers()]));
      if (found.length === 0) return;
      if (began > deadline) break;
      await sleep(Math.max(LOOK_EVERY_MS, (performance.now() - began) * 2));
    }
    expect([...compare(true), ...this.leftovers()]).toEqual([]);
  }

  differences(options: DifferenceOptions & SnapshotOptions = {}): string[] {
    return differences(snapshot(this.folder, options), this.snapshot(options), options);
  }

  /** What is at the destination. */
  snapshot(options: SnapshotOptions = {}): Map<string, Described> {
    return fs.existsSync(this.copy) ? snapshot(this.copy, options) : new Map();
  }

  /** The names at the destination, in order. */
  names(): string[] {
    return [...this.snapshot({ content: false }).keys()].sort();
  }

  /** What unfinished writes have left at the server. */
  leftovers(): string[] {
    const staging = path.join(this.shared.home, ".confundo", "staging", this.name);
    if (!fs.existsSync(staging)) return [];
    return fs.readdirSync(staging).map((name) => `${name} was left over at the server`);
  }
}

/** A program that follows a folder, and the events that it prints. */
export class Following {
  readonly program: Program;

  constructor(program: Program) {
    this.program = program;
  }

  get events(): { readonly type: string; readonly [key: string]: unknown }[] {
    const lines = this.program.stdout.split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line));
  }

  of(type: string): { readonly type: string; readonly [key: string]: unknown }[] {
    return this.events.filter((event) => event.type === type);
  }

  /** Sums a number of all events of a type. */
  sum(type: string, key: string): number {
    return this.of(type).reduce((sum, event) => sum + Number(event[key] ?? 0), 0);
  }

  /** Ends it as Ctrl-C does, without any complaint. */
  async leave(): Promise<void> {
    expect(await this.program.interrupt()).toMatchObject({ code: 0, stderr: "" });
  }
}

/** What is looked at may change meanwhile: then it is not equal yet. */
function settled(look: () => string[]): string[] {
  try {
    return look();
  } catch {
    return ["not yet"];
  }
}

/** Vitest's `test` with a mirror of its own at a server that the tests of a file share. */
export const test = base.extend<{ shared: Shared; rig: Rig; mirrored: Mirrored }>({
  shared: [
    // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of what a fixture needs from the pattern
    async ({}, use) => {
      const rig = new Rig();
      await use(await serve(rig));
      await rig.end();
    },
    { scope: "file" },
  ],
  // biome-ignore lint/correctness/noEmptyPattern: as above
  rig: async ({}, use) => {
    const rig = new Rig();
    await use(rig);
    await rig.end();
  },
  mirrored: async ({ rig, shared }, use) => use(new Mirrored(rig, shared)),
});

/** A server, for a mirror of which it is to be killed. */
export async function serve(rig: Rig, home = path.join(rig.folder(), "home"), port = "0"): Promise<Shared> {
  const started = await rig.serve(home, port);
  return { home, ...started };
}

/** Each line of a table becomes a test; they run side by side. */
export function tell(scenarios: readonly Scenario[]): void {
  for (const [name, run] of scenarios) test.concurrent(name, async ({ mirrored }) => run(mirrored));
}

/** Each is mirrored, followed, and changed. */
export function tellChanges(changes: readonly Change[], options: DifferenceOptions = {}): void {
  for (const [name, before, change] of changes) {
    test.concurrent(name, async ({ mirrored }) => {
      await before(mirrored);
      const following = await mirrored.follow();
      await mirrored.equal(options);
      await change(mirrored);
      await mirrored.equal(options);
      await following.leave();
    });
  }
}
