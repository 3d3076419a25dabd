import { expect, test } from "vitest";
import { randomLink } from "./link.js";
import { Random } from "./random.js";
import { forEachSeed } from "./seeds.js";
import { type Behaviour, type HostOptions, Simulation } from "./simulation.js";

/** A kind of connection, with what it comes in: editions, congestion controllers. All kinds meet the same scenarios. */
export interface SimulatedKind {
  readonly name: string;
  readonly variants: readonly Variant[];
}

export interface Variant {
  readonly segmentBytes: number;
  /** Stream lengths that ask for trouble. */
  readonly interestingLengths: readonly number[];
  /** A host that speaks it; with `accept` it is a server. */
  host(options?: VariantOptions): HostOptions;
}

export interface VariantOptions {
  readonly receiveBufferBytes?: number;
  readonly accept?: (client: string) => Behaviour;
}

export const NOTHING = new Uint8Array(0);

/** Sends one stream, reads another. */
export function behaviour(sends: Uint8Array, expects: Uint8Array, changes: Partial<Behaviour> = {}): Behaviour {
  return {
    sends,
    expects,
    chunkBytes: 65_536,
    readEveryMs: 0,
    endsLast: false,
    shortSegments: "nagle",
    keepAliveMs: 0,
    ...changes,
  };
}

/** Declares the tests: every scenario with so many seeds, each seed with a variant and a network of its own. */
export function declareScenarios(kind: SimulatedKind, seeds: number): void {
  function scenario(title: string, run: (seed: number, random: Random) => void): void {
    const name = `${kind.name}: ${title}`;
    test(name, () => forEachSeed("test/simulation", name, seeds, (seed) => run(seed, new Random(seed))));
  }

  scenario("a file arrives whole", (seed, random) => {
    const variant = random.pick(kind.variants);
    const file = random.bytes(streamLength(random, variant, 150_000));
    const simulation = randomNetwork(seed, random);
    const accept = () => behaviour(NOTHING, file, { endsLast: true });
    const server = simulation.addHost("server", variant.host({ accept }));
    const client = simulation.addHost("client", variant.host());
    const sender = behaviour(file, NOTHING, {
      shortSegments: "never",
      chunkBytes: random.pick([1000, 65_536, 150_000]),
    });
    simulation.connect(client, server, sender);
    simulation.run();
  });

  scenario("both directions carry data at once", (seed, random) => {
    const variant = random.pick(kind.variants);
    const up = random.bytes(streamLength(random, variant, 60_000));
    const down = random.bytes(streamLength(random, variant, 60_000));
    const simulation = randomNetwork(seed, random);
    const some = (): Partial<Behaviour> => ({
      chunkBytes: random.pick([100, 1400, 30_000, 100_000]),
      shortSegments: random.pick(["nagle", "immediate", "never"] as const),
    });
    const accept = () => behaviour(down, up, { ...some(), endsLast: random.chance(0.5), keepAliveMs: 500 });
    const server = simulation.addHost("server", variant.host({ accept }));
    const client = simulation.addHost("client", variant.host());
    simulation.connect(client, server, behaviour(up, down, { ...some(), keepAliveMs: 500 }));
    simulation.run();
  });

  scenario("a slow reader loses nothing and its buffer stays within its bound", (seed, random) => {
    const variant = random.pick(kind.variants);
    const file = random.bytes(random.integer(0, 40_000));
    const receiveBufferBytes = random.integer(variant.segmentBytes, 12_000);
    const simulation = randomNetwork(seed, random, { loss: 0.1 });
    const accept = () =>
      behaviour(NOTHING, file, { endsLast: true, readEveryMs: random.between(1, 3000), keepAliveMs: 500 });
    const server = simulation.addHost("server", variant.host({ accept, receiveBufferBytes }));
    const client = simulation.addHost("client", variant.host());
    simulation.connect(client, server, behaviour(file, NOTHING, { shortSegments: "never", keepAliveMs: 500 }));
    simulation.run();
  });

  scenario("many connections share one endpoint", (seed, random) => {
    const variant = random.pick(kind.variants);
    const simulation = new Simulation(seed, () => randomLink(random, { loss: 0.15 }));
    const files = new Map<string, Uint8Array>();
    const accept = (client: string) => {
      const file = files.get(client) as Uint8Array;
      return behaviour(file, file, { endsLast: random.chance(0.5), keepAliveMs: 500 });
    };
    const servers = ["left", "right"].map((name) => simulation.addHost(name, variant.host({ accept })));
    for (let i = 1; i <= 6; i++) {
      const client = simulation.addHost(`client ${i}`, variant.host());
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

  // Bits flipped that no checksum found.
  scenario("garbled datagrams: nothing throws, every buffer keeps its bound and time goes on", (seed, random) => {
    const variant = random.pick(kind.variants);
    const link = { ...randomLink(random), garbling: random.between(0.01, 0.5) };
    const simulation = new Simulation(seed, link, { tolerant: true });
    const file = random.bytes(random.integer(0, 15_000));
    const accept = () => behaviour(file, file, { endsLast: random.chance(0.5) });
    const server = simulation.addHost("server", variant.host({ accept, receiveBufferBytes: 16_384 }));
    for (let i = 1; i <= 3; i++) {
      const client = simulation.addHost(`client ${i}`, variant.host({ receiveBufferBytes: 16_384 }));
      simulation.connect(client, server, behaviour(file, file));
    }
    // A garbled acknowledgement that looks right can leave a gap that is never filled: such a connection talks for ever.
    simulation.run(120_000);
  });
}

function streamLength(random: Random, variant: Variant, most: number): number {
  const length = random.chance(0.4) ? random.pick(variant.interestingLengths) : random.integer(0, most);
  return Math.min(length, most);
}

/** Each direction has a character of its own. */
function randomNetwork(seed: number, random: Random, worst: { loss?: number } = {}): Simulation {
  const there = randomLink(random, worst);
  const back = randomLink(random, worst);
  return new Simulation(seed, (from) => (from === "server" ? back : there));
}
