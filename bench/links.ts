/**
 * Throughput and CPU time over impaired links, beside node:net with BBR and CUBIC, udx-native and quinn.
 *
 * Sender and receiver live in network namespaces joined by tunlink.c, whose queue is one bandwidth-delay product (at
 * least 64 KiB). The clock runs from before connect() to the matching sha256 at the receiver. Each round has a seed for
 * the link's losses, the same for all. What a link can carry is its rate in full TCP segments, less what it loses.
 * A way that has taken two minutes on one link sits out the rounds that are left (CUBIC on lossy links).
 *
 *   npm run build && node bench/links.ts [rounds] [numbers of the links wanted] [words of the ways wanted] [first seed]
 *
 * as root, on Linux with iproute2, gcc and /dev/net/tun. PROFILE=folder in the environment leaves CPU profiles there.
 */
import { capacity, LINKS, Links, missing, queueBytes, RECEIVER, tcpControllers } from "./support/link.js";
import { type Figures, measure } from "./support/measure.js";
import { QUINN, UDX, type Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";
import { MEBIBYTE } from "./support/source.js";

const SECONDS_PER_WAY = 120;
const LIMIT_SECONDS = 600;

const TCP_BBR: Way = { name: "node:net BBR", peer: "node:net", congestion: "bbr" };
const required = { extended: "required" } as const;
const WAYS: readonly Way[] = [
  TCP_BBR,
  { name: "node:net CUBIC", peer: "node:net", congestion: "cubic" },
  { name: "confundo bbr", peer: "confundo", options: required },
  { name: "confundo bbr descriptor", peer: "confundo", options: { ...required, tier: "descriptor" } },
  { name: "confundo bbr dgram", peer: "confundo", options: { ...required, tier: "dgram" } },
  { name: "confundo cubic", peer: "confundo", options: { ...required, congestion: "cubic" } },
  { name: "confundo tahoe", peer: "confundo", options: { ...required, congestion: "tahoe" } },
  UDX,
  QUINN,
];

const reason = missing();
if (reason !== null) {
  console.error(`Cannot measure here: ${reason}.`);
  process.exit(1);
}

const [, , rounds = "5", rowNumbers = "1,2,3", words, firstSeed = "1"] = process.argv;
const available = tcpControllers();
const ways = chosen(WAYS, words).filter(({ name, congestion }) => {
  if (congestion === undefined || available.includes(congestion)) return true;
  console.log(`${name}: this kernel does not offer it`);
  return false;
});

console.log(`${rounds} rounds, ${describeMachine()}`);
const links = new Links();
try {
  for (const number of rowNumbers.split(",")) {
    const row = LINKS[Number(number) - 1];
    if (row !== undefined) await measureRow(row);
  }
} finally {
  await links.down();
  links.close();
}
console.log(`afterwards: ${describeMachine()}`);

async function measureRow(row: (typeof LINKS)[number]): Promise<void> {
  const carries = capacity(row) / MEBIBYTE;
  console.log(
    `\n${row.megabits} Mbit/s, ${row.rttMs} ms, ${row.lossPercent} % loss, queue ${queueBytes(row)} bytes, ${row.mebibytes} MiB; can carry ${carries.toFixed(2)} MiB/s`,
  );
  const results = await alternate<Figures>({
    rounds: Number(rounds),
    ways,
    secondsPerWay: SECONDS_PER_WAY,
    async measure(way, round) {
      await links.up(row, Number(firstSeed) + round, way.congestion);
      return measure(way, {
        bytes: row.mebibytes * MEBIBYTE,
        host: RECEIVER,
        senderCommand: links.senderCommand,
        receiverCommand: links.receiverCommand,
        limitSeconds: LIMIT_SECONDS,
      });
    },
    line: describe,
  });
  const rate = (figures: readonly Figures[]): number => median(figures.map((one) => one.mebibytesPerSecond));
  const tcp = rate(results.get(TCP_BBR) ?? []);
  console.log();
  printTable(results, [
    { title: "rounds", of: (figures) => String(figures.length) },
    { title: "MiB/s", of: (figures) => rate(figures).toFixed(rate(figures) < 10 ? 3 : 1) },
    { title: "of what it can carry", of: (figures) => `${((rate(figures) / carries) * 100).toFixed(1)} %` },
    { title: "x TCP BBR", of: (figures) => (Number.isNaN(tcp) ? "-" : (rate(figures) / tcp).toFixed(2)) },
    { title: "CPU s/GiB", of: (figures) => median(figures.map((one) => one.cpuSecondsPerGiB)).toFixed(1) },
  ]);
}

function describe({ seconds, mebibytesPerSecond, cpuSecondsPerGiB, sender, receiver }: Figures): string {
  const cpu = `${cpuSecondsPerGiB.toFixed(1)} CPU s/GiB (${sender.cpuSeconds.toFixed(2)} + ${receiver.cpuSeconds.toFixed(2)} s)`;
  const { stats } = sender;
  const ours =
    stats === null
      ? ""
      : `  ${stats.tier}, ${stats.datagramsSent} sent, ${stats.retransmissions} again, ${stats.timeouts} timeouts, ${stats.datagramsReceived} ACKs, cwnd ${stats.cwnd}`;
  return `${mebibytesPerSecond.toFixed(3).padStart(8)} MiB/s  ${seconds.toFixed(2)} s  ${cpu}${ours}`;
}
