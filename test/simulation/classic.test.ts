import { describe, expect, test } from "vitest";
import { EDITION_NAMES, EDITIONS, type Edition } from "../../src/protocol/index.js";
import { behaviour, classicHost, NOTHING, streamLength } from "../support/classic-hosts.js";
import { PERFECT_LINK, randomLink } from "../support/link.js";
import { Random } from "../support/random.js";
import { forEachSeed } from "../support/seeds.js";
import { type Program, Simulation } from "../support/simulation.js";

const SEEDS = 200;

/** A test that runs one scenario with every seed. */
function scenario(name: string, run: (seed: number, random: Random) => void, seeds = SEEDS): void {
  test(name, () => forEachSeed("test/simulation", name, seeds, (seed) => run(seed, new Random(seed))));
}

function randomEdition(random: Random): Edition {
  return EDITIONS[random.pick(EDITION_NAMES)];
}

/** Each direction has a character of its own. */
function randomNetwork(seed: number, random: Random, worst: { loss?: number } = {}): Simulation {
  const there = randomLink(random, worst);
  const back = randomLink(random, worst);
  return new Simulation(seed, (from) => (from === "server" ? back : there));
}

describe("random networks", () => {
  scenario("a file arrives whole", (seed, random) => {
    const edition = randomEdition(random);
    const file = random.bytes(streamLength(random, edition, 150_000));
    const simulation = randomNetwork(seed, random);
    const accept = () => behaviour(NOTHING, file, { endsLast: true });
    const server = simulation.addHost("server", classicHost(edition, { accept }));
    const client = simulation.addHost("client", classicHost(edition));
    const sender = behaviour(file, NOTHING, {
      shortSegments: "never",
      chunkBytes: random.pick([1000, 65_536, 150_000]),
    });
    simulation.connect(client, server, sender);
    simulation.run();
  });

  scenario("both directions carry data at once", (seed, random) => {
    const edition = randomEdition(random);
    const up = random.bytes(streamLength(random, edition, 60_000));
    const down = random.bytes(streamLength(random, edition, 60_000));
    const simulation = randomNetwork(seed, random);
    const some = (): Partial<Parameters<typeof behaviour>[2] & object> => ({
      chunkBytes: random.pick([100, 1400, 30_000, 100_000]),
      shortSegments: random.pick(["nagle", "immediate", "never"] as const),
    });
    const accept = () => behaviour(down, up, { ...some(), endsLast: random.chance(0.5), keepAliveMs: 500 });
    const server = simulation.addHost("server", classicHost(edition, { accept }));
    const client = simulation.addHost("client", classicHost(edition));
    simulation.connect(client, server, behaviour(up, down, { ...some(), keepAliveMs: 500 }));
    simulation.run();
  });

  scenario("a slow reader loses nothing and its buffer stays within its bound", (seed, random) => {
    const edition = randomEdition(random);
    const file = random.bytes(random.integer(0, 40_000));
    const receiveBufferBytes = random.integer(edition.segmentBytes, 12_000);
    const simulation = randomNetwork(seed, random, { loss: 0.1 });
    const accept = () =>
      behaviour(NOTHING, file, { endsLast: true, readEveryMs: random.between(1, 3000), keepAliveMs: 500 });
    const server = simulation.addHost("server", classicHost(edition, { accept, receiveBufferBytes }));
    const client = simulation.addHost("client", classicHost(edition));
    simulation.connect(client, server, behaviour(file, NOTHING, { shortSegments: "never", keepAliveMs: 500 }));
    simulation.run();
  });

  scenario("many connections share one endpoint", (seed, random) => {
    const edition = randomEdition(random);
    const simulation = new Simulation(seed, () => randomLink(random, { loss: 0.15 }));
    const files = new Map<string, Uint8Array>();
    const accept = (client: string) => {
      const file = files.get(client) as Uint8Array;
      return behaviour(file, file, { endsLast: random.chance(0.5), keepAliveMs: 500 });
    };
    const servers = ["left", "right"].map((name) => simulation.addHost(name, classicHost(edition, { accept })));
    for (let i = 1; i <= 6; i++) {
      const client = simulation.addHost(`client ${i}`, classicHost(edition));
      const file = random.bytes(random.integer(0, 20_000));
      files.set(client.name, file);
      // Both servers count from 1, so that one endpoint often has two connections of the same ID.
      for (const server of servers) {
        const start = () => simulation.connect(client, server, behaviour(file, file, { keepAliveMs: 500 }));
        simulation.at(random.between(0, 2000), start);
      }
    }
    simulation.run();
    for (const server of servers) {
      expect([...server.programs.keys()].filter((connection) => connection.failure === null)).toHaveLength(6);
    }
  });
});

describe("garbled datagrams that UDP's checksum missed", () => {
  scenario("nothing throws, every buffer keeps its bound and time goes on", (seed, random) => {
    const edition = randomEdition(random);
    const link = { ...randomLink(random), garbling: random.between(0.01, 0.5) };
    const simulation = new Simulation(seed, link, { tolerant: true });
    const file = random.bytes(random.integer(0, 15_000));
    const accept = () => behaviour(file, file, { endsLast: random.chance(0.5) });
    const server = simulation.addHost("server", classicHost(edition, { accept, receiveBufferBytes: 16_384 }));
    for (let i = 1; i <= 3; i++) {
      const client = simulation.addHost(`client ${i}`, classicHost(edition, { receiveBufferBytes: 16_384 }));
      simulation.connect(client, server, behaviour(file, file));
    }
    // A garbled acknowledgement that looks right can leave a gap that is never filled: such a connection talks for ever.
    simulation.run(120_000);
  });
});

describe("known networks", () => {
  function upload(
    edition: Edition,
    link: Partial<typeof PERFECT_LINK>,
    bytes: number,
  ): { sender: Program; ms: number } {
    const random = new Random(1);
    const file = random.bytes(bytes);
    const simulation = new Simulation(1, { ...PERFECT_LINK, ...link });
    const accept = () => behaviour(NOTHING, file, { endsLast: true });
    const server = simulation.addHost("server", classicHost(edition, { accept }));
    const client = simulation.addHost("client", classicHost(edition));
    const sender = simulation.connect(client, server, behaviour(file, NOTHING, { shortSegments: "never" }));
    simulation.run();
    return { sender, ms: simulation.now };
  }

  test.each(EDITION_NAMES)("%s: on a perfect link nothing is sent twice, over many wraps", (name) => {
    const { sender } = upload(EDITIONS[name], { delayMs: 5 }, 2_000_000);
    expect(sender.connection.stats).toMatchObject({ retransmissions: 0, timeouts: 0, bytesAcknowledged: 2_000_000 });
  });

  test.each(EDITION_NAMES)("%s: what a writer may hand over stays within the window and one chunk", (name) => {
    const { sender } = upload(EDITIONS[name], { loss: 0.05 }, 300_000);
    expect(sender.mostHeldBytes).toBeLessThanOrEqual(EDITIONS[name].maxCwnd + sender.behaviour.chunkBytes);
  });

  test("a link that loses everything after the handshake ends in silence", () => {
    // The header fits, a full segment does not.
    expect(() => upload(EDITIONS["fiu-2023"], { mtuBytes: 100 }, 5000)).toThrow("closed: peer-silent");
  });

  test("the same seed gives the same run", () => {
    const run = () => {
      const simulation = randomNetwork(7, new Random(7));
      const file = new Random(7).bytes(50_000);
      const accept = () => behaviour(NOTHING, file, { endsLast: true });
      const edition = EDITIONS["fiu-2023"];
      const server = simulation.addHost("server", classicHost(edition, { accept }));
      simulation.connect(simulation.addHost("client", classicHost(edition)), server, behaviour(file, NOTHING));
      simulation.run();
      return [simulation.now, simulation.datagrams];
    };
    expect(run()).toEqual(run());
  });
});
