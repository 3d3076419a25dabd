import { describe, expect, test } from "vitest";
import { CONTROLLER_NAMES, type ControllerName } from "../../../../src/protocol/congestion/index.js";
import { Bottleneck, type FlowSpec, jain, megabits, type Path } from "./bottleneck.js";

/** The floors are what the model gave, rounded down: they tell when a change made something worse. */

const MiB = 1024 * 1024;

interface Result {
  /** Of what the path can carry after its losses. */
  readonly use: number;
  readonly lost: number;
  readonly timeouts: number;
  readonly meanQueue: number;
}

function run(path: Path & { rate: number }, spec: FlowSpec, untilMs = 600_000): Result {
  const net = new Bottleneck(path, [spec]);
  net.run(untilMs);
  const [flow] = net.flows;
  if (flow === undefined) throw new Error("no flow");
  const took = Math.min(flow.doneAt, untilMs);
  return {
    use: flow.delivered / took / (path.rate * (1 - (path.loss ?? 0))),
    lost: flow.lostBytes / (flow.lostBytes + flow.delivered),
    timeouts: flow.timeouts,
    meanQueue: net.meanQueue / path.queueBytes,
  };
}

/** A queue of so many bandwidth-delay products. */
function link(mbits: number, rttMs: number, queue: number, more: Partial<Path> = {}): Path & { rate: number } {
  const rate = megabits(mbits);
  return { rttMs, queueBytes: rate * rttMs * queue, ...more, rate };
}

describe("one flow: at least this much of the path", () => {
  const paths: [string, Path & { rate: number }, number][] = [
    ["100 Mbit/s, 40 ms, 16 MiB", link(100, 40, 1), 16],
    ["100 Mbit/s, 40 ms, 128 MiB", link(100, 40, 1), 128],
    ["100 Mbit/s, 40 ms, 1 % loss, 16 MiB", link(100, 40, 1, { loss: 0.01 }), 16],
    ["100 Mbit/s, 40 ms, 1 % loss, 128 MiB", link(100, 40, 1, { loss: 0.01 }), 128],
    ["20 Mbit/s, 100 ms, 5 % loss, 8 MiB", link(20, 100, 1, { loss: 0.05 }), 8],
    ["20 Mbit/s, 100 ms, 5 % loss, 64 MiB", link(20, 100, 1, { loss: 0.05 }), 64],
    ["20 Mbit/s, 100 ms, 20 % loss, 32 MiB", link(20, 100, 1, { loss: 0.2 }), 32],
    ["20 Mbit/s, 100 ms, 30 % loss, 32 MiB", link(20, 100, 1, { loss: 0.3 }), 32],
    ["1 Gbit/s, 20 ms, 64 MiB", link(1000, 20, 1), 64],
    ["20 Mbit/s, 500 ms, 64 MiB", link(20, 500, 1), 64],
    ["a queue of a tenth", link(100, 40, 0.1), 64],
    ["a queue of ten", link(100, 40, 10), 64],
  ];
  const floors: Record<ControllerName, (number | null)[]> = {
    tahoe: [0.5, 0.8, null, null, null, null, null, null, 0.45, 0.55, 0.45, 0.95],
    cubic: [0.88, 0.97, null, null, null, null, null, null, 0.78, 0.85, 0.6, 0.95],
    bbr: [0.91, 0.97, 0.88, 0.96, 0.86, 0.96, 0.93, 0.91, 0.77, 0.9, 0.93, 0.95],
  };

  for (const name of CONTROLLER_NAMES) {
    test.each(paths.map(([title, path, mib], i) => ({ title, path, mib, floor: floors[name][i] ?? null })))(
      `${name}: $title`,
      ({ path, mib, floor }) => {
        const { use, timeouts } = run(path, { name, bytes: mib * MiB });
        if (floor === null) {
          // Loss that says nothing about congestion is what these two were not made for; it must only not stop them.
          expect(use).toBeGreaterThan(0.005);
          return;
        }
        expect(use).toBeGreaterThan(floor);
        // The very last segment may be lost twice.
        expect(timeouts).toBeLessThanOrEqual(1);
      },
    );
  }
});

describe("a round trip of 0.1 ms at 1 GB/s, timers of 1 ms", () => {
  const path = { rate: 1e6, rttMs: 0.1, queueBytes: 2e6, ackTickMs: 0.05 };

  test.each(CONTROLLER_NAMES)("%s is not held up by them", (name) => {
    expect(run(path, { name, bytes: 128 * MiB }).use).toBeGreaterThan(0.97);
  });

  test("bbr: nor by event loops that are busy for 2 ms at a time", () => {
    expect(run({ ...path, ackTickMs: 1, jitterMs: 2 }, { name: "bbr", bytes: 128 * MiB }).use).toBeGreaterThan(0.85);
  });

  test("bbr: a small socket buffer is not flooded", () => {
    const { use, lost } = run({ ...path, queueBytes: 200_000 }, { name: "bbr", bytes: 128 * MiB });
    expect(use).toBeGreaterThan(0.95);
    expect(lost).toBeLessThan(0.03);
  });

  test("bbr: nor does ten seconds without the least round trip stop it", () => {
    const slow = { rate: 5000, rttMs: 0.1, queueBytes: 1e6 };
    expect(run(slow, { name: "bbr" }, 25_000).use).toBeGreaterThan(0.98);
  });
});

describe("bbr keeps its queue short", () => {
  test.each([
    [1, 0.2],
    [10, 0.03],
  ])("in %d of room, %d of it on average", (queue, most) => {
    expect(run(link(100, 40, queue), { name: "bbr", bytes: 128 * MiB }).meanQueue).toBeLessThan(most);
  });
});

describe("the link drops to a tenth after 3 s", () => {
  const before = megabits(100);
  const after = megabits(10);

  test.each(CONTROLLER_NAMES.flatMap((name) => [0.2, 1, 4].map((queue) => [name, queue] as const)))(
    "%s with a queue of %d: the new rate is filled, and not flooded for long",
    (name, queue) => {
      const rate = (now: number): number => (now < 3000 ? before : after);
      const net = new Bottleneck({ rate, rttMs: 40, queueBytes: before * 40 * queue }, [{ name }]);
      const [flow] = net.flows;
      if (flow === undefined) throw new Error("no flow");
      net.run(6000);
      const { delivered, lostBytes } = flow;
      net.run(20_000);
      expect((flow.delivered - delivered) / (14_000 * after)).toBeGreaterThan(0.95);
      expect((flow.lostBytes - lostBytes) / (flow.delivered - delivered)).toBeLessThan(0.06);
    },
  );

  test("bbr takes what comes back", () => {
    const rate = (now: number): number => (now < 3000 || now > 10_000 ? before : after);
    const net = new Bottleneck({ rate, rttMs: 40, queueBytes: before * 40 }, [{ name: "bbr" }]);
    net.run(11_500);
    const delivered = net.flows[0]?.delivered ?? 0;
    net.run(15_000);
    expect(((net.flows[0]?.delivered ?? 0) - delivered) / (3500 * before)).toBeGreaterThan(0.9);
  });
});

describe("two flows on 50 Mbit/s and 40 ms for 30 s, the second one 2 s later", () => {
  function share(
    path: Path & { rate: number },
    names: [ControllerName, ControllerName],
  ): { index: number; total: number } {
    const net = new Bottleneck(path, [{ name: names[0] }, { name: names[1], startMs: 2000 }]);
    net.run(30_000);
    const parts = net.flows.map((flow) => flow.delivered / (30_000 - (flow.spec.startMs ?? 0)) / path.rate);
    return { index: jain(parts), total: net.flows.reduce((sum, flow) => sum + flow.delivered, 0) / 30_000 / path.rate };
  }

  test.each([
    ["bbr", "bbr", 1, 0, 0.9],
    ["bbr", "bbr", 1, 0.05, 0.9],
    ["bbr", "bbr", 2, 0, 0.95],
    ["bbr", "bbr", 2, 0.05, 0.95],
    ["bbr", "bbr", 5, 0, 0.95],
    ["cubic", "cubic", 1, 0, 0.9],
    ["cubic", "cubic", 2, 0, 0.9],
    ["tahoe", "tahoe", 1, 0, 0.95],
    ["bbr", "cubic", 1, 0, 0.75],
    ["bbr", "cubic", 2, 0, 0.9],
    ["bbr", "cubic", 5, 0, 0.75],
  ] as const)("%s and %s, a queue of %s, %s lost: Jain's index at least %s", (one, other, queue, loss, floor) => {
    const seeds = [1, 2, 3];
    const runs = seeds.map((seed) => share(link(50, 40, queue, { loss, seed }), [one, other]));
    const indices = runs.map((each) => each.index).sort((a, b) => a - b);
    console.info(
      `Jain, ${one} and ${other}, queue ${queue}, loss ${loss}: ${indices.map((i) => i.toFixed(3)).join(" ")}`,
    );
    expect(indices[1]).toBeGreaterThan(floor);
    expect(Math.min(...runs.map((each) => each.total))).toBeGreaterThan(0.8);
  });
});
