/**
 * Measured transfers between two new processes. The clock runs from before connect() to the matching sha256 at the
 * receiver. CPU time is that of both ends from the same moment on, the receiver's hash included, the start of Node not.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { EndReport, Said, Task } from "./child.js";
import type { Way } from "./peers.js";
import { expectedHash, MEBIBYTE } from "./source.js";

const CHILD: string = fileURLToPath(new URL("./child.ts", import.meta.url));
const DEFAULT_LIMIT_SECONDS = 300;
const TELL_MS = 100;
const ENDLESS_BYTES = 1e12;
/** Node may wait for ever at its end for a thread that compiles (nodejs/node#54918). */
const EXIT_LIMIT_MS = 5000;

export interface Transfer {
  readonly bytes: number;
  readonly host?: string;
  /** What each end's Node is started with, as in `ip netns exec NAME`. */
  readonly senderCommand?: readonly string[];
  readonly receiverCommand?: readonly string[];
  readonly sampleMs?: number;
  /** The sender must see its connection closed without an error. */
  readonly untilClosed?: boolean;
  /** Called when the sender is started. */
  readonly onBegin?: () => void;
  readonly limitSeconds?: number;
}

export interface Figures {
  readonly seconds: number;
  readonly mebibytesPerSecond: number;
  /** Both ends. */
  readonly cpuSeconds: number;
  readonly cpuSecondsPerGiB: number;
  readonly sender: EndReport;
  readonly receiver: EndReport;
}

/** @throws when it takes too long, when an end dies or when something else arrives than was sent. */
export async function measure(way: Way, transfer: Transfer): Promise<Figures> {
  const { bytes, host = "127.0.0.1", sampleMs, untilClosed, limitSeconds = DEFAULT_LIMIT_SECONDS } = transfer;
  const expected = expectedHash(bytes);
  const ends: End[] = [];
  try {
    const receiver = new End({ role: "receive", way, host }, transfer.receiverCommand);
    ends.push(receiver);
    const { port = 0 } = await receiver.said(limitSeconds);
    const sample = { ...(sampleMs && { sampleMs }), ...(untilClosed && { untilClosed }) };
    const sender = new End({ role: "send", way, host, port, bytes, ...sample }, transfer.senderCommand);
    ends.push(sender);
    transfer.onBegin?.();
    const [{ hash, doneMs = 0 }, { beganMs = 0 }] = await Promise.all([
      receiver.said(limitSeconds),
      sender.said(limitSeconds),
    ]);
    if (hash !== expected) throw new Error("what arrived is not what was sent");
    const [sent, received] = await Promise.all([sender.report(), receiver.report()]);
    const seconds = (doneMs - beganMs) / 1000;
    const cpuSeconds = sent.cpuSeconds + received.cpuSeconds;
    return {
      seconds,
      mebibytesPerSecond: bytes / MEBIBYTE / seconds,
      cpuSeconds,
      cpuSecondsPerGiB: (cpuSeconds * 1024 * MEBIBYTE) / bytes,
      sender: sent,
      receiver: received,
    };
  } finally {
    await Promise.all(ends.map((end) => end.stop()));
  }
}

export interface FlowPlan {
  readonly way: Way;
  readonly host: string;
  readonly startsAfterMs: number;
}

/** What a flow moved in the part of {@link compete} that counts. */
export interface FlowFigures {
  readonly mebibytesPerSecond: number;
}

/** Lets flows that never end share a path for some time, and says what each moves from a time on. */
export async function compete(
  flows: readonly FlowPlan[],
  options: {
    readonly seconds: number;
    readonly fromSeconds: number;
    readonly senderCommand: readonly string[];
    readonly receiverCommand: readonly string[];
  },
): Promise<FlowFigures[]> {
  const ends: End[] = [];
  const { seconds, fromSeconds } = options;
  try {
    const receivers = flows.map(
      ({ way, host }) => new End({ role: "receive", way, host, tellMs: TELL_MS }, options.receiverCommand),
    );
    ends.push(...receivers);
    const ports = await Promise.all(receivers.map((end) => end.said(DEFAULT_LIMIT_SECONDS)));
    const began = performance.now();
    const told: Said[][] = flows.map(() => []);
    await Promise.all(
      flows.map(async ({ way, host, startsAfterMs }, i) => {
        await delay(startsAfterMs);
        const port = ports[i]?.port ?? 0;
        ends.push(new End({ role: "send", way, host, port, bytes: ENDLESS_BYTES }, options.senderCommand));
        while (performance.now() - began < seconds * 1000) {
          const said = await (receivers[i] as End).said(DEFAULT_LIMIT_SECONDS);
          if (performance.now() - began >= fromSeconds * 1000) told[i]?.push(said);
        }
      }),
    );
    return told.map((list) => {
      const first = list[0];
      const last = list.at(-1);
      const bytes = (last?.received ?? 0) - (first?.received ?? 0);
      const ms = (last?.atMs ?? 0) - (first?.atMs ?? 0);
      return { mebibytesPerSecond: bytes / MEBIBYTE / (ms / 1000) };
    });
  } finally {
    await Promise.all(ends.map((end) => end.stop()));
  }
}

class End {
  readonly #child: ChildProcess;
  readonly #role: string;
  readonly #exited: Promise<unknown>;
  readonly #waiting: Said[] = [];
  #wake: (() => void) | null = null;

  constructor(task: Task, command: readonly string[] = []) {
    const [program = process.execPath, ...rest] = [...command, process.execPath];
    this.#role = task.role;
    const node = nodeArguments(task);
    this.#child = fork(CHILD, [JSON.stringify(task)], { execPath: program, execArgv: [...rest, ...node] });
    this.#exited = once(this.#child, "exit");
    this.#child.on("message", (said) => {
      this.#waiting.push(said as Said);
      this.#wake?.();
    });
    this.#child.once("exit", () => this.#wake?.());
  }

  /** The next thing it says. */
  async said(limitSeconds: number): Promise<Said> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), limitSeconds * 1000);
    while (this.#waiting.length === 0) {
      const { exitCode, signalCode } = this.#child;
      if (signalCode !== null) throw new Error(`no end after ${limitSeconds} s (${this.#role})`);
      if (exitCode !== null) throw new Error(`the process that was to ${this.#role} ended with ${exitCode}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
    return this.#waiting.shift() as Said;
  }

  async report(): Promise<EndReport> {
    this.#child.send("report");
    const { report } = await this.said(10);
    return report as EndReport;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), EXIT_LIMIT_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}

/** PROFILE=folder in the environment: each end leaves a CPU profile there. NODE_FLAGS: what each end's Node is told besides. */
function nodeArguments({ role, way }: Task): string[] {
  const { PROFILE, NODE_FLAGS } = process.env;
  const flags = NODE_FLAGS?.split(" ") ?? [];
  if (PROFILE === undefined) return flags;
  const name = `${way.name.replace(/\W+/g, "-")}-${role}-${Date.now()}.cpuprofile`;
  return [...flags, "--cpu-prof", `--cpu-prof-dir=${PROFILE}`, `--cpu-prof-name=${name}`];
}
