/**
 * A picture of one transfer over a lossy link: throughput, the congestion window and what was sent again, over time.
 *
 *   npm run build && node bench/plot.ts [number of the link, as in links.ts] [seed] [congestion] [file]
 *
 * as root, see links.ts. Writes docs/lossy-transfer.svg unless told otherwise.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Sample } from "./support/child.js";
import { capacity, LINKS, Links, missing, RECEIVER } from "./support/link.js";
import { measure } from "./support/measure.js";
import { MEBIBYTE } from "./support/source.js";
import { type Panel, toSvg } from "./support/svg.js";

const SAMPLE_MS = 10;
/** Throughput is that of so many samples. */
const MEAN_OVER = 10;
const DEFAULT_FILE: string = fileURLToPath(new URL("../docs/lossy-transfer.svg", import.meta.url));

const reason = missing();
if (reason !== null) {
  console.error(`Cannot measure here: ${reason}.`);
  process.exit(1);
}

const [, , number = "2", seed = "1", congestion = "bbr", file = DEFAULT_FILE] = process.argv;
const link = LINKS[Number(number) - 1];
if (link === undefined) throw new Error(`There is no link ${number}.`);

const links = new Links();
try {
  await links.up(link, Number(seed));
  const way = {
    name: "confundo",
    peer: "confundo",
    options: { extended: "required", congestion: congestion as "bbr" },
  } as const;
  const { mebibytesPerSecond, seconds, sender } = await measure(way, {
    bytes: link.mebibytes * MEBIBYTE,
    host: RECEIVER,
    senderCommand: links.senderCommand,
    receiverCommand: links.receiverCommand,
    sampleMs: SAMPLE_MS,
  });
  const carries = capacity(link) / MEBIBYTE;
  const samples = sender.samples.filter(({ ms }) => ms <= seconds * 1000);
  const { megabits, rttMs, lossPercent, mebibytes } = link;
  const title = `${mebibytes} MiB over ${megabits} Mbit/s, ${rttMs} ms, ${lossPercent} % loss, with ${congestion}: ${mebibytesPerSecond.toFixed(2)} MiB/s of ${carries.toFixed(2)}`;
  writeFileSync(file, toSvg(title, seconds, panels(samples, carries, (megabits * 1000 * rttMs) / 8 / 1024)));
  console.log(`${title}; ${file}`);
} finally {
  await links.down();
  links.close();
}

function panels(samples: readonly Sample[], carries: number, productKiB: number): Panel[] {
  const throughput = samples.flatMap((sample, i): [number, number][] => {
    const before = samples[i - MEAN_OVER];
    if (before === undefined) return [];
    const rate = (sample.bytesAcknowledged - before.bytesAcknowledged) / MEBIBYTE / ((sample.ms - before.ms) / 1000);
    return [[(sample.ms + before.ms) / 2000, rate]];
  });
  return [
    {
      title: `acknowledged, MiB/s (means of ${SAMPLE_MS * MEAN_OVER} ms)`,
      points: throughput,
      line: { value: carries, title: "what the link can carry" },
    },
    {
      title: "congestion window, KiB",
      points: samples.map(({ ms, cwnd }) => [ms / 1000, cwnd / 1024]),
      line: { value: productKiB, title: "bandwidth x round-trip time" },
    },
    {
      title: "segments sent again",
      points: samples.map(({ ms, retransmissions }) => [ms / 1000, retransmissions]),
    },
  ];
}
