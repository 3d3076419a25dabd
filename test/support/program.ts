/** The built command-line program in child processes, folders of their own, and an end to both with each test. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test as base } from "vitest";
import { PATIENCE_MS } from "./limits.js";

export { until } from "./patience.js";

export const REPOSITORY: string = fileURLToPath(new URL("../..", import.meta.url));
/** Where keys and indexes are kept, instead of in the state of whoever runs the tests: all programs are one user's. */
export const STATE: string = path.join(os.tmpdir(), `confundo-test-state-${process.pid}`);
process.on("exit", () => fs.rmSync(STATE, { recursive: true, force: true }));
const BIN = path.join(REPOSITORY, "bin", "confundo.js");

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** What the program reads; without it, its stdin is empty. `open` leaves it to {@link Program.child}. */
  readonly stdin?: string | Uint8Array | "open";
  /** In a process group of its own, as a terminal's foreground job is. Ends as a whole. */
  readonly group?: boolean;
  /** A program with its arguments that starts the program. */
  readonly via?: readonly string[];
}

/** One running program. */
export class Program {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  stdout = "";
  stderr = "";
  #ended = false;
  readonly #name: string;
  readonly #group: boolean;
  readonly #watchers = new Set<() => void>();

  constructor(file: string, args: readonly string[], options: StartOptions = {}) {
    this.#name = [path.basename(file), ...args].join(" ");
    this.#group = options.group ?? false;
    const stdin = options.stdin === undefined ? "ignore" : "pipe";
    const env = { ...process.env, NODE_OPTIONS: "", XDG_STATE_HOME: STATE, ...options.env };
    const detached = this.#group;
    this.child = spawn(file, args, { cwd: options.cwd, env, stdio: [stdin, "pipe", "pipe"], detached });
    this.child.stdout?.setEncoding("utf8").on("data", (text) => this.#take("stdout", text));
    this.child.stderr?.setEncoding("utf8").on("data", (text) => this.#take("stderr", text));
    if (options.stdin !== undefined && options.stdin !== "open") this.child.stdin?.end(options.stdin);
    this.exited = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", (code, signal) => {
        this.#ended = true;
        for (const watcher of [...this.#watchers]) watcher();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    this.exited.catch(() => {});
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves when what was printed so far, from `from` on, matches. Rejects when the program ends without, or never does. */
  async printed(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const match = pattern.exec(`${this.stdout}\n${this.stderr}`.slice(from)) ?? null;
      if (match !== null) return match;
      if (this.#ended) {
        throw new Error(`${this.#name} ended without printing ${pattern}:\n${this.stdout}\n${this.stderr}`);
      }
      if (performance.now() > deadline) {
        throw new Error(`${this.#name} does not print ${pattern}:\n${this.stdout}\n${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        const watcher = (): void => {
          this.#watchers.delete(watcher);
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(watcher, deadline - performance.now() + 1);
        this.#watchers.add(watcher);
      });
    }
  }

  /** Sends a signal and waits for the end. */
  kill(signal: NodeJS.Signals): Promise<Exit> {
    if (!this.#group || this.child.pid === undefined) this.child.kill(signal);
    else {
      try {
        process.kill(-this.child.pid, signal);
      } catch {
        // All of the group have ended.
      }
    }
    return this.exited;
  }

  /** As Ctrl-C does. */
  interrupt(): Promise<Exit> {
    return this.kill("SIGINT");
  }

  #take(stream: "stdout" | "stderr", text: string): void {
    this[stream] += text;
    for (const watcher of [...this.#watchers]) watcher();
  }
}

/** What a test has at hand; all of it ends with the test. */
export class Rig {
  readonly #programs: Program[] = [];
  readonly #folders: string[] = [];

  /** A new folder. */
  folder(): string {
    const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "confundo-e2e-")));
    this.#folders.push(folder);
    return folder;
  }

  /** Starts any program. */
  spawn(file: string, args: readonly string[], options?: StartOptions): Program {
    const program = new Program(file, args, options);
    this.#programs.push(program);
    return program;
  }

  /** Starts `confundo`. */
  start(args: readonly string[], options?: StartOptions): Program {
    const [file = "", ...more] = [...(options?.via ?? []), process.execPath, BIN, ...args];
    return this.spawn(file, more, options);
  }

  /** Runs `confundo` to its end. */
  run(args: readonly string[], options?: StartOptions): Promise<Exit> {
    return this.start(args, options).exited;
  }

  /** Starts `confundo receive`; resolves when it listens. */
  async receive(dir: string, ...more: string[]): Promise<{ server: Program; port: string }> {
    const local = more.includes("--host") ? [] : ["--host", "127.0.0.1"];
    const server = this.start(["receive", "0", dir, ...local, ...more]);
    const [, port = ""] = await server.printed(/listening on \S+:(\d+)\n/);
    return { server, port };
  }

  /** Starts `confundo serve`, without HTTP unless it is asked for; resolves when it listens. */
  async serve(dir: string, port = "0", ...more: string[]): Promise<{ server: Program; port: string }> {
    const http = more.includes("--http") ? [] : ["--no-http"];
    const server = this.start(["serve", dir, "--port", port, ...http, ...more]);
    const [, bound = ""] = await server.printed(/listening on \S+:(\d+)\n/);
    return { server, port: bound };
  }

  async end(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.ended || program.kill("SIGKILL").catch(() => {})));
    for (const folder of this.#folders) remove(folder);
  }
}

/** Vitest's `test` with a {@link Rig}. */
export const test = base.extend<{ rig: Rig }>({
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of what a fixture needs from the pattern
  rig: async ({}, use) => {
    const rig = new Rig();
    await use(rig);
    await rig.end();
  },
});

/** Also what its owner may not write to. */
function remove(folder: string): void {
  try {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    execFileSync("chmod", ["-R", "u+rwX", folder]);
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * The arguments of `script` (util-linux) that run a command on a terminal of its own. The shell that `script` starts is
 * replaced by the command: it would receive Ctrl-C too, and some shells (dash) end by it whatever the command does.
 */
export function onTerminal(command: readonly string[], { columns = 80, rows = 24 } = {}): string[] {
  const words = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  return ["-qefc", `stty cols ${columns} rows ${rows}; exec ${words}`, "/dev/null"];
}

export function random(bytes: number): Buffer {
  return randomBytes(bytes);
}

export function sha256(file: string): string {
  return createHash("sha256").update(fs.readFileSync(file)).digest("hex");
}

/** Everything in a folder, by path: kind, content (hashed), executable bit and modification time in seconds. */
export function contents(folder: string): Record<string, string> {
  return describeAll(folder, sha256);
}

/**
 * Everything in a folder, by path, without the content of files. Waiting for large files by their hashes would block the
 * event loop again and again, and with it any proxy of this process that they come through.
 */
export function outline(folder: string): Record<string, string> {
  return describeAll(folder, () => "unread");
}

function describeAll(folder: string, hash: (full: string) => string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    found[name] = describeEntry(path.join(folder, name), hash);
  }
  return found;
}

function describeEntry(full: string, hash: (full: string) => string): string {
  const stats = fs.lstatSync(full);
  if (stats.isSymbolicLink()) return `link to ${fs.readlinkSync(full)}`;
  if (stats.isDirectory()) return "folder";
  const kind = stats.mode & 0o100 ? "executable" : "file";
  return `${kind} of ${stats.size}, ${hash(full)}, ${Math.floor(stats.mtimeMs / 1000)}`;
}
