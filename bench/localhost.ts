/**
 * Throughput on this machine, beside node:net, udx-native and quinn.
 *
 * A sender and a receiver, each a process of its own, move random bytes over 127.0.0.1, in turns. The receiver checks the
 * sha256. The clock runs from before connect() to the matching hash at the receiver: medians of all rounds, and their
 * ratio to node:net's. CPU time is that of both ends.
 *
 *   npm run build && node bench/localhost.ts [MiB] [rounds] [words of the ways wanted, with commas]
 */
import { type Figures, measure } from "./support/measure.js";
import { QUINN, TCP, UDX, type Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";
import { MEBIBYTE } from "./support/source.js";

const WAYS: readonly Way[] = [
  TCP,
  { name: "confundo", peer: "confundo", options: { extended: "required" } },
  { name: "confundo descriptor", peer: "confundo", options: { extended: "required", tier: "descriptor" } },
  { name: "confundo dgram", peer: "confundo", options: { extended: "required", tier: "dgram" } },
  { name: "confundo 1472", peer: "confundo", options: { extended: "required", maxDatagramBytes: 1472 } },
  { name: "confundo fiu-2023", peer: "confundo", options: { extended: false, edition: "fiu-2023" } },
  { name: "confundo ucla-2017", peer: "confundo", options: { extended: false, edition: "ucla-2017" } },
  UDX,
  QUINN,
];

const [, , mebibytes = "256", rounds = "5", words] = process.argv;
const bytes = Number(mebibytes) * MEBIBYTE;

console.log(`${mebibytes} MiB over 127.0.0.1, ${rounds} rounds, ${describeMachine()}`);
const results = await alternate<Figures>({
  rounds: Number(rounds),
  ways: chosen(WAYS, words),
  measure: (way) => measure(way, { bytes }),
  line({ mebibytesPerSecond, cpuSeconds, sender, receiver }) {
    const cpu = `CPU s ${cpuSeconds.toFixed(2)} (${sender.cpuSeconds.toFixed(2)} + ${receiver.cpuSeconds.toFixed(2)})`;
    const { stats } = sender;
    const more =
      stats === null
        ? ""
        : `  ${stats.edition} ${stats.tier}, ${stats.datagramsSent} sent, ${stats.retransmissions} again, ${stats.timeouts} timeouts`;
    return `${mebibytesPerSecond.toFixed(1).padStart(8)} MiB/s  ${cpu}${more}`;
  },
});

const rate = (figures: readonly Figures[]): number => median(figures.map((one) => one.mebibytesPerSecond));
const tcp = rate(results.get(TCP) ?? []);
const udx = rate(results.get(UDX) ?? []);
const ratio = (value: number): string => (Number.isNaN(value) ? "-" : value.toFixed(2));
console.log();
printTable(results, [
  { title: "MiB/s", of: (figures) => rate(figures).toFixed(1) },
  { title: "x node:net", of: (figures) => ratio(rate(figures) / tcp) },
  { title: "x udx-native", of: (figures) => ratio(rate(figures) / udx) },
  { title: "CPU s/GiB", of: (figures) => median(figures.map((one) => one.cpuSecondsPerGiB)).toFixed(2) },
  { title: "peak MiB sender", of: (figures) => median(figures.map((one) => one.sender.peakMiB)).toFixed(0) },
  { title: "peak MiB receiver", of: (figures) => median(figures.map((one) => one.receiver.peakMiB)).toFixed(0) },
]);
console.log(`\nafterwards: ${describeMachine()}`);
