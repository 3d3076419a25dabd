/** Where a program that mirrors is measured: a folder, a destination, a way between them that counts bytes. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** How programs are started on both sides, and how the client reaches the server. */
export interface Wire {
  readonly client: readonly string[];
  readonly server: readonly string[];
  readonly host: string;
  /** Bytes that have passed so far in both directions, headers included; NaN where nobody counts. */
  bytes(): number;
  /** Whether something listens on the server's TCP port. */
  listens(port: number): boolean;
}

/** A loopback interface of its own, where we may have one; else the machine's, which others use too. */
export class Loopback implements Wire {
  readonly host = "127.0.0.1";
  readonly client: readonly string[];
  readonly #name = `confundo-${process.pid}-lo`;

  constructor() {
    const own = process.getuid?.() === 0 && spawnSync("ip", ["netns", "add", this.#name]).status === 0;
    if (own) execFileSync("ip", ["-n", this.#name, "link", "set", "lo", "up"]);
    this.client = own ? ["ip", "netns", "exec", this.#name] : [];
  }

  get server(): readonly string[] {
    return this.client;
  }

  bytes(): number {
    return this.client.length === 0 ? Number.NaN : counted(this.client, "lo", [0]);
  }

  listens(port: number): boolean {
    return listening(this.client, port);
  }

  close(): void {
    if (this.client.length > 0) spawnSync("ip", ["netns", "del", this.#name]);
  }
}

/** Sums columns (0: received, 8: sent) of an interface. */
export function counted(command: readonly string[], device: string, columns: readonly number[]): number {
  const lines = output(command, "cat", "/proc/net/dev").split("\n");
  const values = lines.find((line) => line.trim().startsWith(`${device}:`))?.split(":")[1];
  const numbers = values?.trim().split(/\s+/).map(Number) ?? [];
  return columns.reduce((sum, column) => sum + (numbers[column] ?? Number.NaN), 0);
}

export function listening(command: readonly string[], port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return new RegExp(`:${hex} [0-9A-F]+:0000 0A `).test(output(command, "cat", "/proc/net/tcp", "/proc/net/tcp6"));
}

function output(command: readonly string[], ...more: string[]): string {
  const [file = "", ...args] = [...command, ...more];
  return execFileSync(file, args, { encoding: "utf8" });
}

/** One program's folder, destination and state, and its processes. */
export class Place {
  readonly folder: string;
  /** The mirror is in `destination/m`. */
  readonly destination: string;
  readonly state: string;
  readonly wire: Wire;
  readonly #children = new Set<ChildProcess>();

  constructor(folder: string, wire: Wire, work: string) {
    this.folder = folder;
    this.wire = wire;
    this.destination = fs.mkdtempSync(path.join(work, "destination-"));
    this.state = fs.mkdtempSync(path.join(work, "state-"));
  }

  get copy(): string {
    return path.join(this.destination, "m");
  }

  startServer(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return this.#start([...this.wire.server, file, ...args], env);
  }

  startClient(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return this.#start([...this.wire.client, file, ...args], env);
  }

  /** Runs a client to its end. */
  async runClient(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> {
    const child = this.startClient(file, args, env);
    let said = "";
    const keep = (text: Buffer): void => {
      said = `${said}${text}`.slice(-2000);
    };
    child.stderr?.on("data", keep);
    child.stdout?.on("data", keep);
    const [code, signal] = await once(child, "close");
    if (code !== 0) throw new Error(`${file} ended with ${code ?? signal}: ${said}`);
  }

  async untilListening(port: number): Promise<void> {
    while (!this.wire.listens(port)) await sleep(20);
  }

  /** Ends a child, and those it has started. */
  async kill(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#children.delete(child);
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = once(child, "exit");
    try {
      process.kill(-child.pid, signal);
    } catch {
      // All of them have ended.
    }
    await ended;
  }

  async close(): Promise<void> {
    for (const child of [...this.#children]) await this.kill(child);
    // What they were about to write is written by now, or never will be.
    for (const folder of [this.destination, this.state])
      fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }

  killAll(): void {
    for (const { pid } of this.#children) {
      try {
        if (pid !== undefined) process.kill(-pid, "SIGKILL");
      } catch {
        // Has ended.
      }
    }
  }

  #start([file = "", ...args]: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
    const child = spawn(file, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
      detached: true,
    });
    this.#children.add(child);
    child.stdout?.resume();
    child.stderr?.resume();
    child.once("exit", () => this.#children.delete(child));
    return child;
  }
}

/** The most memory that a process and all it has started have had, in MiB; 0 where nobody says. */
export function peakMiB(pid: number | undefined): number {
  try {
    const own = Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
    const started = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    return own + started.reduce((sum, child) => sum + peakMiB(Number(child)), 0);
  } catch {
    return 0;
  }
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
