import { afterEach, expect, test, vi } from "vitest";
import { EDITIONS } from "../../src/protocol/index.js";
import { classicHost } from "../support/classic-hosts.js";
import { PERFECT_LINK } from "../support/link.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { forEachSeed } from "../support/seeds.js";
import { type SimulatedEndpoint, Simulation } from "../support/simulation.js";

afterEach(() => {
  vi.unstubAllEnvs();
});

test("a failure prints the line that replays its seed", () => {
  vi.stubEnv("CONFUNDO_SEED", undefined);
  const failing = () =>
    forEachSeed("test/simulation", "a name", 10, (seed) => {
      if (seed === 4) throw new Error("broken");
    });
  expect(failing).toThrow(/^broken\n\nReplay it with:\nCONFUNDO_SEED=4 npx vitest run test\/simulation -t "a name"\n$/);
});

test("CONFUNDO_SEED runs one seed, CONFUNDO_SEEDS as many as one likes", () => {
  const seen: number[] = [];
  vi.stubEnv("CONFUNDO_SEED", "123");
  forEachSeed("", "", 10, (seed) => seen.push(seed));
  expect(seen).toEqual([123]);
  vi.stubEnv("CONFUNDO_SEED", undefined);
  vi.stubEnv("CONFUNDO_SEEDS", "3");
  forEachSeed("", "", 10, (seed) => seen.push(seed));
  expect(seen).toEqual([123, 1, 2, 3]);
});

test.each([
  ["other bytes than were sent", "is not what was sent", spoilData],
  ["a connection that is never closed", "not done after four hours", deafServer],
  ["a deadline that never comes true", "does not move", stuckDeadline],
])("the simulation notices %s", (_what, message, spoil) => {
  const edition = EDITIONS["fiu-2023"];
  const file = new Uint8Array(20_000).fill(7);
  const simulation = new Simulation(1, PERFECT_LINK);
  const accept = () => behaviour(NOTHING, file, { endsLast: true });
  const server = simulation.addHost("server", spoiled(classicHost(edition, { accept }), spoil));
  const client = simulation.addHost("client", classicHost(edition));
  const run = () => {
    simulation.connect(client, server, behaviour(file, NOTHING));
    simulation.run();
  };
  const broken = { name: "InvariantError", message: expect.stringContaining(message) };
  expect(run).toThrow(expect.objectContaining(broken) as Error);
});

type Spoil = (endpoint: SimulatedEndpoint) => Partial<SimulatedEndpoint>;

function spoiled(options: ReturnType<typeof classicHost>, spoil: Spoil): ReturnType<typeof classicHost> {
  const { endpoint } = options;
  const plain: SimulatedEndpoint = {
    connect: (...args) => endpoint.connect(...args),
    receive: (...args) => endpoint.receive(...args),
    expire: (now) => endpoint.expire(now),
    deadline: () => endpoint.deadline(),
    settle: (connection) => endpoint.settle(connection),
  };
  return { ...options, endpoint: { ...plain, ...spoil(endpoint) } };
}

function spoilData(endpoint: SimulatedEndpoint): Partial<SimulatedEndpoint> {
  return {
    receive: (datagram, ...rest) => {
      if (datagram.length > 100) datagram[100] = 8;
      return endpoint.receive(datagram, ...rest);
    },
  };
}

/** Whatever it is told, it asks for the first byte again. */
function deafServer(endpoint: SimulatedEndpoint): Partial<SimulatedEndpoint> {
  return {
    receive: (datagram, ...rest) =>
      endpoint.receive(datagram.length > 12 ? datagram.subarray(0, 12) : datagram, ...rest),
  };
}

function stuckDeadline(): Partial<SimulatedEndpoint> {
  return { deadline: () => 1 };
}
