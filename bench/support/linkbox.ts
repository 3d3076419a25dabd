/**
 * A link between two network namespaces whose rate, delay, queue and faults change while it runs, made by linkbox.c. It needs
 * what the links of link.ts need.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Properties of both directions, in linkbox's units: Mbit/s, ms one way, percent, bytes. */
export interface LinkSettings {
  readonly rate?: number;
  readonly delay?: number;
  readonly loss?: number;
  readonly queue?: number;
}

/** Counters of one direction since they were read last. */
export interface LinkStat {
  readonly dir: number;
  /** Packets that arrived, and that the queue and chance took. */
  readonly fw: number;
  readonly qdrop: number;
  readonly rloss: number;
  readonly bytes: number;
  readonly qmeanMs: number;
  readonly qmaxMs: number;
}

/** The right side has two addresses, so that two flows can have routes, and so congestion controls, of their own. */
export const RIGHT_ADDRESSES = ["10.77.0.2", "10.78.0.2"] as const;
const LEFT_ADDRESS = "10.77.0.1";

/** Makes links, one at a time, and cleans up behind them, also when the process is interrupted. */
export class Linkbox {
  readonly #folder = mkdtempSync(join(tmpdir(), "confundo-linkbox-"));
  readonly #program: string;
  readonly #left = `confundo-${process.pid}-a`;
  readonly #right = `confundo-${process.pid}-b`;
  #child: ChildProcess | null = null;
  #lines: Interface | null = null;
  readonly #interrupted = (): void => {
    this.close();
    process.exit(130);
  };

  constructor() {
    this.#program = process.env.LINKBOX ?? join(this.#folder, "linkbox");
    const source = fileURLToPath(new URL("../linkbox.c", import.meta.url));
    if (process.env.LINKBOX === undefined) execFileSync("gcc", ["-O2", "-o", this.#program, source]);
    process.once("SIGINT", this.#interrupted);
    process.once("SIGTERM", this.#interrupted);
    for (const name of [this.#left, this.#right]) execFileSync("ip", ["netns", "add", name]);
  }

  /** What to start a program with on either side. */
  get leftCommand(): string[] {
    return ["ip", "netns", "exec", this.#left];
  }
  get rightCommand(): string[] {
    return ["ip", "netns", "exec", this.#right];
  }

  /** A new link. `controllers` are those of TCP, towards the first and the second address of the right side. */
  async up(settings: LinkSettings, seed: number, controllers: readonly (string | undefined)[] = []): Promise<void> {
    await this.down();
    const child = spawn(this.#program, [this.#left, this.#right], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    if (child.stdout === null) throw new Error("linkbox has no output");
    this.#lines = createInterface({ input: child.stdout });
    await Promise.race([once(this.#lines, "line"), once(child, "exit")]);
    if (child.exitCode !== null) throw new Error("the link could not be made");
    this.command(2, "seed", seed);
    this.set(settings);
    execFileSync("ip", ["-n", this.#right, "address", "add", `${RIGHT_ADDRESSES[1]}/32`, "dev", "tl0"]);
    controllers.forEach((controller, i) => {
      if (controller === undefined) return;
      // By route: a namespace of its own may not choose every controller as its default.
      const route = ["route", "replace", `${RIGHT_ADDRESSES[i]}/32`, "dev", "tl0", "src", LEFT_ADDRESS];
      execFileSync("ip", ["-n", this.#left, ...route, "congctl", controller]);
    });
  }

  set(settings: LinkSettings): void {
    for (const [key, value] of Object.entries(settings)) this.command(2, key, value);
  }

  /** Direction 0 is from left to right, 1 back, 2 both. */
  command(direction: 0 | 1 | 2, key: string, value: number): void {
    this.#child?.stdin?.write(`${direction} ${key} ${value}\n`);
  }

  /** Reads and clears the counters of both directions. */
  async stat(): Promise<[LinkStat, LinkStat]> {
    if (this.#lines === null) throw new Error("there is no link");
    const lines: LinkStat[] = [];
    const both = new Promise<void>((resolve) => {
      const listener = (line: string): void => {
        if (lines.push(JSON.parse(line) as LinkStat) < 2) return;
        this.#lines?.off("line", listener);
        resolve();
      };
      this.#lines?.on("line", listener);
    });
    this.command(2, "stat", 0);
    await both;
    return lines as [LinkStat, LinkStat];
  }

  async down(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    this.#lines = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  }

  close(): void {
    this.#child?.kill("SIGTERM");
    for (const name of [this.#left, this.#right]) spawnSync("ip", ["netns", "del", name]);
    rmSync(this.#folder, { recursive: true, force: true });
    process.off("SIGINT", this.#interrupted);
    process.off("SIGTERM", this.#interrupted);
  }
}
