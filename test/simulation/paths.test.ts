import { describe, expect, test } from "vitest";
import { extendedHost } from "../support/extended-hosts.js";
import { type LinkOptions, PERFECT_LINK } from "../support/link.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { type Program, Simulation } from "../support/simulation.js";

/**
 * The paths of bench/paths.ts without CPU time. The limits are what node:net with TCP BBR takes on the same link, as bench/paths.ts
 * measured it, or less.
 */

const MEBIBYTE = 1024 * 1024;
/** A line counts 28 bytes of headers to each datagram, of 1,500 bytes as a rule. */
const megabits = (value: number): number => ((value * 1e6) / 8) * (1472 / 1500);

interface Result {
  readonly seconds: number;
  /** Of both directions. */
  readonly datagrams: number;
  readonly sender: Program;
}

interface Transfer {
  readonly link: Partial<LinkOptions>;
  readonly bytes: number;
  readonly changes?: readonly (Partial<LinkOptions> & { readonly atMs: number })[];
  /** The server sends. */
  readonly download?: boolean;
  readonly seed?: number;
}

function transfer({ link, bytes, changes = [], download = false, seed = 1 }: Transfer): Result {
  const file = new Uint8Array(bytes);
  const simulation = new Simulation(seed, { ...PERFECT_LINK, ...link });
  let current = { ...PERFECT_LINK, ...link };
  for (const { atMs, ...change } of changes) {
    simulation.at(atMs, () => {
      current = { ...current, ...change };
      simulation.changeLinks(() => current);
    });
  }
  const options = { timerTickMs: 1, windowBytes: 16 * MEBIBYTE, seed };
  const sends = behaviour(file, NOTHING);
  const reads = behaviour(NOTHING, file, { endsLast: true });
  const server = simulation.addHost("server", extendedHost({ ...options, accept: () => (download ? sends : reads) }));
  const client = simulation.addHost("client", extendedHost(options));
  const program = simulation.connect(client, server, download ? reads : sends);
  simulation.run();
  const other = [...server.programs.values()].at(-1) as Program;
  const [sender, receiver] = download ? [other, program] : [program, other];
  const result = { seconds: receiver.readAt / 1000, datagrams: simulation.datagrams, sender };
  const { retransmissions, timeouts } = sender.connection.stats;
  console.log(
    `${expect.getState().currentTestName}: ${result.seconds.toFixed(2)} s, ${result.datagrams} datagrams, ${retransmissions} sent again, ${timeouts} timeouts`,
  );
  return result;
}

describe.each([false, true])("round trips above 500 ms, download: %s", (download) => {
  test.each([
    [1500, 4, 11],
    [3000, 8, 24],
    [600, 4, 7],
  ])("10 Mbit/s, %i ms, %i MiB: within %i s", (roundTripMs, mebibytes, seconds) => {
    const bytesPerSecond = megabits(10);
    const link = { delayMs: roundTripMs / 2, bytesPerSecond, queueBytes: (bytesPerSecond * roundTripMs) / 1000 };
    const result = transfer({ link, bytes: mebibytes * MEBIBYTE, download });
    expect(result.seconds).toBeLessThan(seconds);
  });

  test("10 Mbit/s, 600 ms, 1 % lost, 4 MiB: within 9 s, whatever is lost", () => {
    const bytesPerSecond = megabits(10);
    const link = { delayMs: 300, bytesPerSecond, queueBytes: bytesPerSecond * 0.6, loss: 0.01 };
    for (let seed = 1; seed <= 10; seed++) {
      expect(transfer({ link, bytes: 4 * MEBIBYTE, seed, download }).seconds).toBeLessThan(9);
    }
  });
});

describe.each([false, true])("links of a few kbit/s, download: %s", (download) => {
  test.each([
    [9600, 24_000, 22, 62],
    [9600, 100_000, 91, 200],
    [1000, 4000, 36, 100],
    [1000, 24_000, 210, 160],
  ])(
    "%i bit/s, %i bytes: within %i s and %i datagrams, without an error",
    (bitsPerSecond, bytes, seconds, datagrams) => {
      // Here headers count, and datagrams have 1,200 bytes.
      const link = { delayMs: 50, bytesPerSecond: ((bitsPerSecond / 8) * 1200) / 1228, queueBytes: 65_536 };
      const result = transfer({ link, bytes, download });
      expect(result.sender.failure).toBeNull();
      expect(result.seconds).toBeLessThan(seconds);
      expect(result.datagrams).toBeLessThan(datagrams);
    },
  );
});

test("20 Mbit/s, 40 ms, a queue of 3 packets, 16 MiB: within 8.2 s", () => {
  const link = { delayMs: 20, bytesPerSecond: megabits(20), queueBytes: 6000 };
  expect(transfer({ link, bytes: 16 * MEBIBYTE }).seconds).toBeLessThan(8.2);
});

describe("paths that change, 20 Mbit/s, 40 ms, 24 MiB", () => {
  const link = { delayMs: 20, bytesPerSecond: megabits(20), queueBytes: 100_000 };

  test.each([100_000, 400_000, 1_000_000])("1 Mbit/s for 5 s, a queue of %i bytes: within 17.5 s", (queueBytes) => {
    const changes = [
      { atMs: 3000, bytesPerSecond: megabits(1) },
      { atMs: 8000, bytesPerSecond: megabits(20) },
    ];
    for (const seed of [1, 2, 10, 12]) {
      const result = transfer({ link: { ...link, queueBytes }, bytes: 24 * MEBIBYTE, changes, seed });
      expect(result.seconds).toBeLessThan(17.5);
    }
  });

  test.each([100_000, 400_000])("300 ms from the third second on, a queue of %i bytes: within 16 s", (queueBytes) => {
    const changes = [{ atMs: 3000, delayMs: 150 }];
    expect(transfer({ link: { ...link, queueBytes }, bytes: 24 * MEBIBYTE, changes }).seconds).toBeLessThan(16);
  });
});
