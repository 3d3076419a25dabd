/** One end of a measured transfer, in a process of its own: see measure.ts. */
import { createHash } from "node:crypto";
import { listen, prepare, type Sending, type Stats, send, type Way } from "./peers.js";
import { MEBIBYTE, source } from "./source.js";

export type Task =
  | {
      readonly role: "receive";
      readonly way: Way;
      readonly host: string;
      /** Say how much has arrived so often. */
      readonly tellMs?: number;
    }
  | {
      readonly role: "send";
      readonly way: Way;
      readonly host: string;
      readonly port: number;
      readonly bytes: number;
      /** Take a sample so often. */
      readonly sampleMs?: number;
      /** Done is when the connection is closed, not when everything is acknowledged. */
      readonly untilClosed?: boolean;
    };

export interface Sample {
  readonly ms: number;
  readonly cwnd: number;
  readonly bytesAcknowledged: number;
  readonly retransmissions: number;
}

export interface EndReport {
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly stats: Stats;
  readonly samples: readonly Sample[];
}

/** What a child says, in this order. Times are of the clock that all processes share. */
export interface Said {
  readonly port?: number;
  readonly doneMs?: number;
  readonly hash?: string;
  readonly beganMs?: number;
  readonly report?: EndReport;
  readonly received?: number;
  readonly atMs?: number;
}

const say = (said: Said): void => void process.send?.(said);
const sharedMs = (): number => Number(process.hrtime.bigint()) / 1e6;

function reportWhenAsked(before: NodeJS.CpuUsage, stats: () => Stats, samples: readonly Sample[]): void {
  process.once("message", () => {
    const { user, system } = process.cpuUsage(before);
    const peakMiB = process.resourceUsage().maxRSS / 1024;
    say({ report: { cpuSeconds: (user + system) / 1e6, peakMiB, stats: stats(), samples } });
  });
}

async function receive({ way, host, tellMs }: Task & { role: "receive" }): Promise<void> {
  const listener = await listen(way, host);
  reportWhenAsked(process.cpuUsage(), listener.stats, []);
  say({ port: listener.port });
  const hash = createHash("sha256");
  let received = 0;
  if (tellMs !== undefined) setInterval(() => say({ received, atMs: sharedMs() }), tellMs);
  for await (const chunk of listener.incoming) {
    received += chunk.length;
    hash.update(chunk);
  }
  say({ hash: hash.digest("hex"), doneMs: sharedMs() });
}

async function sendAll(task: Task & { role: "send" }): Promise<void> {
  const { way, host, port, bytes, sampleMs, untilClosed } = task;
  await prepare(way);
  // The pool is made now.
  for (const _ of source(MEBIBYTE)) break;
  const samples: Sample[] = [];
  const before = process.cpuUsage();
  const beganMs = sharedMs();
  const sending = send(way, host, port, source(bytes));
  if (sampleMs !== undefined) sample(sending, samples, beganMs, sampleMs);
  reportWhenAsked(before, sending.stats, samples);
  await sending.done;
  if (untilClosed) await sending.closed;
  say({ beganMs });
}

function sample(sending: Sending, samples: Sample[], beganMs: number, everyMs: number): void {
  const timer = setInterval(() => {
    const stats = sending.stats();
    if (stats === null) return;
    const { cwnd, bytesAcknowledged, retransmissions } = stats;
    samples.push({ ms: sharedMs() - beganMs, cwnd, bytesAcknowledged, retransmissions });
  }, everyMs);
  const stop = (): void => clearInterval(timer);
  sending.done.then(stop, stop);
}

process.once("disconnect", () => process.exit());
// However the transport ends, the report is still to be asked for.
setInterval(() => {}, 60_000);
const task = JSON.parse(process.argv[2] as string) as Task;
if (task.role === "receive") await receive(task);
else await sendAll(task);
