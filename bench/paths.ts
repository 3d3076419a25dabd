/**
 * Confundo beside node:net with TCP BBR on paths that are hard: round trips of seconds, links of a few kbit/s, queues of a few
 * packets, links whose rate or delay changes during a transfer, and flows of other kinds beside it.
 *
 * Sender and receiver live in network namespaces joined by linkbox.c. Each round measures every way once, with one seed for the
 * link's losses. The clock runs from before connect() to the matching sha256 at the receiver. Datagrams are the IP packets that
 * both ends sent, those that were lost included.
 *
 *   npm run build && node bench/paths.ts [rounds] [words of the rows wanted] [words of the ways wanted] [first seed]
 *
 * as root, on Linux with iproute2, gcc and /dev/net/tun.
 */
import { setTimeout as delay } from "node:timers/promises";
import { missing, tcpControllers } from "./support/link.js";
import { Linkbox, type LinkSettings, RIGHT_ADDRESSES } from "./support/linkbox.js";
import { compete, type Figures, type FlowFigures, measure } from "./support/measure.js";
import type { Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";

const LIMIT_SECONDS = 900;
const MEBIBYTE = 1024 * 1024;

interface Row {
  readonly name: string;
  readonly link: LinkSettings;
  readonly bytes: number;
  /** What changes, so many ms after the transfer's begin. */
  readonly changes?: readonly (LinkSettings & { readonly afterMs: number })[];
}

interface SharedRow {
  readonly name: string;
  readonly link: LinkSettings;
  readonly seconds: number;
  readonly fromSeconds: number;
  /** The sets of flows that are measured, one after the other. */
  readonly flows: readonly (readonly Way[])[];
}

/** A queue of one bandwidth-delay product, as links.ts has it. */
const bdp = (megabits: number, rttMs: number): number => Math.max(65_536, Math.round((megabits * 1000 * rttMs) / 8));

const far = (name: string, rttMs: number, mebibytes: number, loss = 0): Row => ({
  name,
  link: { rate: 10, delay: rttMs / 2, queue: bdp(10, rttMs), loss },
  bytes: mebibytes * MEBIBYTE,
});

const ROWS: readonly Row[] = [
  far("10 Mbit/s, 1,500 ms", 1500, 4),
  far("10 Mbit/s, 3,000 ms", 3000, 8),
  far("10 Mbit/s, 600 ms, 1 % loss", 600, 4, 1),
  { name: "9.6 kbit/s", link: { rate: 0.0096, delay: 50, queue: 65_536 }, bytes: 24_000 },
  { name: "1 kbit/s", link: { rate: 0.001, delay: 50, queue: 65_536 }, bytes: 4_000 },
  {
    name: "a queue of 3 packets",
    link: { rate: 20, delay: 20, queue: 4500 },
    bytes: 16 * MEBIBYTE,
  },
  {
    name: "20, 1 and 20 Mbit/s",
    link: { rate: 20, delay: 20, queue: bdp(20, 40) },
    bytes: 24 * MEBIBYTE,
    changes: [
      { afterMs: 3000, rate: 1 },
      { afterMs: 8000, rate: 20 },
    ],
  },
  {
    name: "40 to 300 ms",
    link: { rate: 20, delay: 20, queue: bdp(20, 40) },
    bytes: 24 * MEBIBYTE,
    changes: [{ afterMs: 3000, delay: 150 }],
  },
];

const TCP_BBR: Way = { name: "node:net BBR", peer: "node:net", congestion: "bbr" };
const TCP_CUBIC: Way = { name: "node:net CUBIC", peer: "node:net", congestion: "cubic" };
const CONFUNDO: Way = { name: "confundo bbr", peer: "confundo", options: { extended: "required" } };
const WAYS: readonly Way[] = [TCP_BBR, CONFUNDO];

const five = (way: Way): Way[] => [way, way, way, way, way];

const SHARED_ROWS: readonly SharedRow[] = [
  {
    name: "two flows, 20 Mbit/s, 40 ms",
    link: { rate: 20, delay: 20, queue: bdp(20, 40) },
    seconds: 40,
    fromSeconds: 10,
    flows: [
      [CONFUNDO, TCP_BBR],
      [TCP_CUBIC, TCP_BBR],
      [TCP_CUBIC, CONFUNDO],
      [TCP_BBR, TCP_BBR],
      [CONFUNDO, CONFUNDO],
    ],
  },
  {
    name: "five flows, 20 Mbit/s, 40 ms",
    link: { rate: 20, delay: 20, queue: bdp(20, 40) },
    seconds: 30,
    fromSeconds: 10,
    flows: [five(CONFUNDO), five(TCP_BBR)],
  },
  {
    name: "one flow, 20 Mbit/s, 40 ms, a buffer of 5 s",
    link: { rate: 20, delay: 20, queue: 12_500_000 },
    seconds: 20,
    fromSeconds: 2,
    flows: [[CONFUNDO], [TCP_BBR], [TCP_CUBIC]],
  },
];

const reason = missing() ?? (tcpControllers().includes("bbr") ? null : "this kernel does not offer BBR");
if (reason !== null) {
  console.error(`Cannot measure here: ${reason}.`);
  process.exit(1);
}

const [, , rounds = "3", rowWords = "", wayWords, firstSeed = "1"] = process.argv;
const wanted = <T extends { name: string }>(rows: readonly T[]): T[] =>
  rows.filter(({ name }) => rowWords.split(";").some((word) => name.includes(word)));

interface PathFigures extends Figures {
  readonly datagrams: number;
  readonly queueDrops: number;
  readonly queueMs: number;
}

console.log(`${rounds} rounds, ${describeMachine()}`);
const box = new Linkbox();
try {
  for (const row of wanted(ROWS)) await measureRow(row);
  for (const row of wanted(SHARED_ROWS)) await measureShared(row);
} finally {
  await box.down();
  box.close();
}
console.log(`afterwards: ${describeMachine()}`);

async function measureRow(row: Row): Promise<void> {
  console.log(`\n${row.name}: ${JSON.stringify(row.link)}, ${row.bytes} bytes`);
  const results = await alternate<PathFigures>({
    rounds: Number(rounds),
    ways: chosen(WAYS, wayWords),
    measure: (way, round) => transfer(row, way, Number(firstSeed) + round),
    line: ({ seconds, datagrams, queueDrops, queueMs, sender: { stats } }) =>
      `${seconds.toFixed(2).padStart(8)} s  ${datagrams} datagrams, ${queueDrops} dropped, queue ${queueMs} ms${
        stats === null
          ? ""
          : `  ${stats.datagramsSent} sent, ${stats.retransmissions} again, ${stats.timeouts} timeouts, cwnd ${stats.cwnd}`
      }`,
  });
  const seconds = (figures: readonly Figures[]): number => median(figures.map((one) => one.seconds));
  const tcp = seconds(results.get(TCP_BBR) ?? []);
  console.log();
  printTable(results, [
    { title: "runs", of: (figures) => String(figures.length) },
    { title: "s", of: (figures) => seconds(figures).toFixed(2) },
    { title: "most", of: (figures) => Math.max(...figures.map((one) => one.seconds)).toFixed(2) },
    { title: "x TCP's time", of: (figures) => (seconds(figures) / tcp).toFixed(2) },
    { title: "x TCP's speed", of: (figures) => (tcp / seconds(figures)).toFixed(2) },
    { title: "datagrams", of: (figures) => median(figures.map((one) => one.datagrams)).toFixed(0) },
  ]);
}

async function transfer(row: Row, way: Way, seed: number): Promise<PathFigures> {
  await box.up(row.link, seed, [way.congestion]);
  await box.stat();
  const timers: NodeJS.Timeout[] = [];
  try {
    const figures = await measure(way, {
      bytes: row.bytes,
      host: RIGHT_ADDRESSES[0],
      senderCommand: box.leftCommand,
      receiverCommand: box.rightCommand,
      untilClosed: true,
      limitSeconds: LIMIT_SECONDS,
      onBegin() {
        for (const { afterMs, ...settings } of row.changes ?? []) {
          timers.push(setTimeout(() => box.set(settings), afterMs));
        }
      },
    });
    // What is on its way when both ends are done still counts.
    await delay(2 * (row.link.delay ?? 0) + 100);
    const [there, back] = await box.stat();
    const sent = (stat: typeof there): number => stat.fw + stat.qdrop + stat.rloss;
    return { ...figures, datagrams: sent(there) + sent(back), queueDrops: there.qdrop, queueMs: there.qmeanMs };
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

/** Flows that share the link, each a second after the one before; the order turns from round to round. */
async function measureShared(row: SharedRow): Promise<void> {
  console.log(`\n${row.name}: ${JSON.stringify(row.link)}, from second ${row.fromSeconds} to ${row.seconds}`);
  for (const flows of row.flows) {
    const names = flows.map(({ name }) => name);
    if (wayWords !== undefined && !names.some((name) => wayWords.split(",").some((word) => name.includes(word))))
      continue;
    const shares: number[][] = [];
    for (let round = 0; round < Number(rounds); round++) {
      const shift = round % flows.length;
      const order = [...flows.slice(shift), ...flows.slice(0, shift)];
      // One address, and so one controller of TCP, for each kind.
      const kinds = [...new Set(order)];
      await box.up(
        row.link,
        Number(firstSeed) + round,
        kinds.map(({ congestion }) => congestion),
      );
      await box.stat();
      const figures = await compete(
        order.map((way, i) => ({
          way,
          host: RIGHT_ADDRESSES[kinds.indexOf(way)] as string,
          startsAfterMs: i * 1000,
        })),
        {
          seconds: row.seconds,
          fromSeconds: row.fromSeconds,
          senderCommand: box.leftCommand,
          receiverCommand: box.rightCommand,
        },
      );
      const [there] = await box.stat();
      const inOrder = figures.map(megabits);
      const share = [...inOrder.slice(flows.length - shift), ...inOrder.slice(0, flows.length - shift)];
      shares.push(share);
      const drops = ((there.qdrop / (there.qdrop + there.fw)) * 100).toFixed(1);
      console.log(
        `  ${round + 1} ${share.map((value) => value.toFixed(1)).join(" : ")} Mbit/s, Jain ${jain(share).toFixed(3)}, queue ${there.qmeanMs} ms, ${drops} % dropped`,
      );
    }
    const medians = flows.map((_, i) => median(shares.map((share) => share[i] as number)).toFixed(1));
    console.log(`${names.join(" : ")}  ${medians.join(" : ")} Mbit/s`);
  }
}

/** Jain's index: 1 when all are equal, 1/n when one has it all. */
function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  return sum ** 2 / (values.length * values.reduce((a, b) => a + b ** 2, 0));
}

function megabits({ mebibytesPerSecond }: FlowFigures): number {
  return (mebibytesPerSecond * MEBIBYTE * 8) / 1e6;
}
