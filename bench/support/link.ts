/**
 * Two network namespaces joined by a link with a rate, a round-trip time, random loss and a drop-tail queue, made by
 * tunlink.c. Linux, root, iproute2, gcc and /dev/net/tun are needed.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface LinkProperties {
  readonly megabits: number;
  readonly rttMs: number;
  readonly lossPercent: number;
}

/** Links, and how much to send over them. */
export const LINKS: readonly (LinkProperties & { readonly mebibytes: number })[] = [
  { megabits: 1000, rttMs: 20, lossPercent: 0, mebibytes: 64 },
  { megabits: 100, rttMs: 40, lossPercent: 1, mebibytes: 16 },
  { megabits: 20, rttMs: 100, lossPercent: 5, mebibytes: 8 },
];

/** The addresses of the two sides, as tunlink gives them. */
const SENDER = "10.77.0.1";
export const RECEIVER: string = "10.77.0.2";

const MTU_BYTES = 1500;
/** IPv4, and TCP with timestamps. */
const TCP_HEADER_BYTES = 20 + 32;
const LEAST_QUEUE_BYTES = 64 * 1024;

/** One bandwidth-delay product, at least 64 KiB. */
export function queueBytes({ megabits, rttMs }: LinkProperties): number {
  return Math.max(LEAST_QUEUE_BYTES, Math.round((megabits * 1e6 * rttMs) / 8 / 1000));
}

/** Bytes of payload a second in full TCP segments, less what the link loses. */
export function capacity({ megabits, lossPercent }: LinkProperties): number {
  return ((megabits * 1e6) / 8) * ((MTU_BYTES - TCP_HEADER_BYTES) / MTU_BYTES) * (1 - lossPercent / 100);
}

/** Why there can be no links here; null when there can. */
export function missing(): string | null {
  if (process.platform !== "linux") return "links need Linux";
  if (process.getuid?.() !== 0) return "links need root, for network namespaces";
  if (spawnSync("ip", ["-V"]).status !== 0) return "links need the ip command (package iproute2)";
  if (spawnSync("gcc", ["--version"]).status !== 0) return "links need gcc, to compile tunlink.c";
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return "links need /dev/net/tun";
  }
  return null;
}

/** What the kernel offers TCP. */
export function tcpControllers(): string[] {
  return readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "latin1").trim().split(/\s+/);
}

/** Makes links, one at a time, and cleans up behind them, also when the process is interrupted. */
export class Links {
  readonly #folder = mkdtempSync(join(tmpdir(), "confundo-links-"));
  readonly #program = join(this.#folder, "tunlink");
  readonly #left = `confundo-${process.pid}-left`;
  readonly #right = `confundo-${process.pid}-right`;
  #tunlink: ChildProcess | null = null;
  readonly #interrupted = (): void => {
    this.close();
    process.exit(130);
  };

  constructor() {
    execFileSync("gcc", ["-O2", "-o", this.#program, fileURLToPath(new URL("../tunlink.c", import.meta.url))], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    process.once("SIGINT", this.#interrupted);
    process.once("SIGTERM", this.#interrupted);
    for (const name of [this.#left, this.#right]) execFileSync("ip", ["netns", "add", name]);
  }

  /** What to start a program with on either side. */
  get senderCommand(): string[] {
    return ["ip", "netns", "exec", this.#left];
  }
  get receiverCommand(): string[] {
    return ["ip", "netns", "exec", this.#right];
  }

  async up(properties: LinkProperties, seed: number, tcpController?: string): Promise<void> {
    await this.down();
    const { megabits, rttMs, lossPercent } = properties;
    const numbers = [megabits, rttMs, lossPercent, queueBytes(properties), seed].map(String);
    this.#tunlink = spawn(this.#program, [this.#left, this.#right, ...numbers], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const { stdout } = this.#tunlink;
    if (stdout !== null) await Promise.race([once(stdout, "data"), once(this.#tunlink, "exit")]);
    if (this.#tunlink.exitCode !== null) throw new Error("the link could not be made");
    if (tcpController === undefined) return;
    // By route: a namespace of its own may not choose every controller as its default.
    const routes = [
      [this.#left, SENDER, RECEIVER],
      [this.#right, RECEIVER, SENDER],
    ] as const;
    for (const [name, from, to] of routes) {
      const route = ["route", "replace", to, "dev", "tl0", "scope", "link", "proto", "kernel", "src", from];
      execFileSync("ip", ["-n", name, ...route, "congctl", tcpController]);
    }
  }

  async down(): Promise<void> {
    const tunlink = this.#tunlink;
    this.#tunlink = null;
    if (tunlink === null || tunlink.exitCode !== null || tunlink.signalCode !== null) return;
    tunlink.kill("SIGTERM");
    await once(tunlink, "exit");
  }

  close(): void {
    this.#tunlink?.kill("SIGTERM");
    for (const name of [this.#left, this.#right]) spawnSync("ip", ["netns", "del", name]);
    rmSync(this.#folder, { recursive: true, force: true });
    process.off("SIGINT", this.#interrupted);
    process.off("SIGTERM", this.#interrupted);
  }
}
