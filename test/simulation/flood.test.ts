import { expect, test } from "vitest";
import { extendedHost } from "../support/extended-hosts.js";
import { PERFECT_LINK } from "../support/link.js";
import { Random } from "../support/random.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { forEachSeed } from "../support/seeds.js";
import { Simulation } from "../support/simulation.js";

const CLIENTS = 8;
const FLOOD_MS = 3000;
const OFFERING_SYN = [0, 0, 0xc3, 0x50, 0, 0, 0, 0, 0, 0, 0xa5, 0x92];

/** What somebody without a connection may send: SYNs, SYNs with a tail, introductions with guessed tags, noise. */
function hostile(random: Random): Uint8Array {
  const kind = random.integer(0, 3);
  if (kind === 0) return Uint8Array.from(OFFERING_SYN);
  if (kind === 1) return Uint8Array.from([...OFFERING_SYN, ...random.bytes(random.integer(1, 40))]);
  const bytes = random.bytes(random.integer(0, 60));
  if (kind === 2 && bytes.length > 13) bytes.set([0, random.integer(1, CLIENTS), 0xc4, 0, 0, bytes.length], 8);
  return bytes;
}

test("a flood from many addresses costs clients that come and send in its midst nothing, and leaves nothing behind", () => {
  forEachSeed("test/simulation/flood.test.ts", "a flood from many addresses", 3, (seed) => {
    const random = new Random(seed);
    const file = random.bytes(100_000);
    const run = (packetsAMs: number): { ended: number; server: ReturnType<typeof extendedHost> } => {
      const simulation = new Simulation(seed, { ...PERFECT_LINK, delayMs: 10 });
      const accept = () => behaviour(NOTHING, file, { endsLast: true });
      const options = extendedHost({ accept, seed });
      const server = simulation.addHost("server", options);
      let taken = 0;
      let got = 0;
      let answered = 0;
      for (let at = 0; at < FLOOD_MS && packetsAMs > 0; at++) {
        simulation.at(at, () => {
          for (let i = 0; i < packetsAMs; i++) {
            const packet = hostile(random);
            const from = `10.${random.integer(0, 255)}.${random.integer(0, 255)}.${random.integer(0, 255)}`;
            if (options.endpoint.receive(packet, from, random.integer(1, 65_535), simulation.now) !== null) taken++;
            got += packet.length;
            answered += options.endpoint.reply?.length ?? 0;
          }
        });
      }
      for (let i = 0; i < CLIENTS; i++) {
        const client = simulation.addHost(`client ${i}`, extendedHost({ seed: seed + i }));
        simulation.at(i * 300, () => void simulation.connect(client, server, behaviour(file, NOTHING)));
      }
      simulation.run();
      expect([...server.programs.keys()]).toHaveLength(CLIENTS);
      expect(taken).toBe(0);
      expect(answered).toBeLessThanOrEqual(got);
      let ended = 0;
      for (const program of server.programs.values()) ended = Math.max(ended, program.readAt);
      return { ended, server: options };
    };
    const quiet = run(0);
    const flooded = run(5);
    expect(flooded.ended).toBe(quiet.ended);
  });
});
