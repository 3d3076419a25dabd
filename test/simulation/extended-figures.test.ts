import { describe, expect, test } from "vitest";
import { CONTROLLER_NAMES, type ControllerName } from "../../src/protocol/index.js";
import { extendedHost } from "../support/extended-hosts.js";
import { PERFECT_LINK } from "../support/link.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { Simulation } from "../support/simulation.js";

const MEBIBYTE = 1024 * 1024;

interface Path {
  readonly name: string;
  readonly bytesPerSecond: number;
  readonly roundTripMs: number;
  readonly loss: number;
  readonly mebibytes: number;
  /** MiB/s, from the first SYN to the last acknowledgement, that must be reached. */
  readonly floors: Record<ControllerName, number>;
}

/** The links of bench/, with timers that fire in whole milliseconds, and a queue of one round trip. */
const PATHS: Path[] = [
  {
    name: "1 Gbit/s, 20 ms",
    bytesPerSecond: 125e6,
    roundTripMs: 20,
    loss: 0,
    mebibytes: 64,
    floors: { bbr: 95, cubic: 85, tahoe: 85 },
  },
  {
    name: "100 Mbit/s, 40 ms, 1 % lost",
    bytesPerSecond: 12.5e6,
    roundTripMs: 40,
    loss: 0.01,
    mebibytes: 16,
    floors: { bbr: 10, cubic: 0.3, tahoe: 0.35 },
  },
  {
    name: "20 Mbit/s, 100 ms, 5 % lost",
    bytesPerSecond: 2.5e6,
    roundTripMs: 100,
    loss: 0.05,
    mebibytes: 8,
    floors: { bbr: 1.85, cubic: 0.04, tahoe: 0.06 },
  },
];

describe.each(PATHS)("$name", (path) => {
  test.each(CONTROLLER_NAMES)("%s", (congestion) => {
    const { bytesPerSecond, roundTripMs, loss, mebibytes } = path;
    const file = new Uint8Array(mebibytes * MEBIBYTE);
    // A line counts 28 bytes of headers to each datagram.
    const line = { delayMs: roundTripMs / 2, loss, bytesPerSecond: (bytesPerSecond * 1472) / 1500 };
    const simulation = new Simulation(1, {
      ...PERFECT_LINK,
      ...line,
      queueBytes: (bytesPerSecond * roundTripMs) / 1000,
    });
    const options = { congestion, timerTickMs: 1, windowBytes: 16 * MEBIBYTE };
    const accept = () => behaviour(NOTHING, file, { endsLast: true });
    const server = simulation.addHost("server", extendedHost({ ...options, accept }));
    const client = simulation.addHost("client", extendedHost(options));
    const sender = simulation.connect(client, server, behaviour(file, NOTHING));
    simulation.run();
    const rate = (mebibytes / sender.finishedAt) * 1000;
    const { retransmissions, timeouts, datagramsReceived } = sender.connection.stats;
    const rest = `${retransmissions} sent again, ${timeouts} timeouts, ${datagramsReceived} acknowledgements`;
    console.log(`${path.name}: ${congestion} ${rate.toFixed(2)} MiB/s (${rest})`);
    expect(rate).toBeGreaterThan(path.floors[congestion]);
  });
});
