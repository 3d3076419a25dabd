/**
 * Peak resident memory of each end while 1 GiB goes over 127.0.0.1, beside node:net and udx-native. Node itself takes
 * about 45 MiB.
 *
 *   npm run build && node bench/memory.ts [MiB] [rounds] [words of the ways wanted, with commas]
 */
import { type Figures, measure } from "./support/measure.js";
import { TCP, UDX, type Way } from "./support/peers.js";
import { alternate, chosen, describeMachine, median, printTable } from "./support/report.js";
import { MEBIBYTE } from "./support/source.js";

const required = { extended: "required" } as const;
const WAYS: readonly Way[] = [
  TCP,
  { name: "confundo", peer: "confundo", options: required },
  { name: "confundo descriptor", peer: "confundo", options: { ...required, tier: "descriptor" } },
  { name: "confundo dgram", peer: "confundo", options: { ...required, tier: "dgram" } },
  { name: "confundo 1472", peer: "confundo", options: { ...required, maxDatagramBytes: 1472 } },
  UDX,
];

const [, , mebibytes = "1024", rounds = "5", words] = process.argv;
console.log(`${mebibytes} MiB over 127.0.0.1, ${rounds} rounds, ${describeMachine()}`);
const results = await alternate<Figures>({
  rounds: Number(rounds),
  ways: chosen(WAYS, words),
  measure: (way) => measure(way, { bytes: Number(mebibytes) * MEBIBYTE }),
  line({ sender, receiver, mebibytesPerSecond }) {
    const peaks = `sender ${sender.peakMiB.toFixed(0)} MiB, receiver ${receiver.peakMiB.toFixed(0)} MiB`;
    return `${peaks}  (${mebibytesPerSecond.toFixed(0)} MiB/s)`;
  },
});
console.log();
printTable(results, [
  { title: "sender, peak MiB", of: (figures) => median(figures.map((one) => one.sender.peakMiB)).toFixed(0) },
  { title: "receiver, peak MiB", of: (figures) => median(figures.map((one) => one.receiver.peakMiB)).toFixed(0) },
]);
console.log(`\nafterwards: ${describeMachine()}`);
