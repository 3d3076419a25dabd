import { describe, expect, test } from "vitest";
import { EDITION_NAMES, EDITIONS, type Edition } from "../../src/protocol/index.js";
import { CLASSIC, classicHost } from "../support/classic-hosts.js";
import { PERFECT_LINK, randomLink } from "../support/link.js";
import { Random } from "../support/random.js";
import { behaviour, declareScenarios, NOTHING } from "../support/scenarios.js";
import { type Program, Simulation } from "../support/simulation.js";

declareScenarios(CLASSIC, 200);

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
      const simulation = new Simulation(7, randomLink(new Random(7)));
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
