import { describe, expect, test } from "vitest";
import { DEFAULT_EDITION, Endpoint, editionNamed } from "../../src/protocol/index.js";
import { type ExtendedHostOptions, extendedHost } from "../support/extended-hosts.js";
import { type LinkOptions, PERFECT_LINK } from "../support/link.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { type HostOptions, type Program, Simulation } from "../support/simulation.js";

const DOWN: LinkOptions = { ...PERFECT_LINK, loss: 1 };
const LEAST_DATA_DATAGRAM = 60;

/** When a client that nobody answers sends its SYNs, in ms. */
function synTimes(host: HostOptions): number[] {
  const simulation = new Simulation(1, DOWN);
  const server = simulation.addHost("server", extendedHost({ accept: () => behaviour(NOTHING, NOTHING) }));
  const client = simulation.addHost("client", host);
  const times: number[] = [];
  simulation.onSent = () => times.push(simulation.now);
  simulation.connect(client, server, behaviour(NOTHING, NOTHING));
  simulation.run(9999);
  return times;
}

describe("SYNs that nobody answers", () => {
  test.each([true, false])("the extended edition's interval doubles to a second, required: %s", (required) => {
    const times = [0, ...Array.from({ length: 10 }, (_, i) => 500 + i * 1000)];
    expect(synTimes(extendedHost({ required }))).toEqual(times);
  });

  test("the classic edition alone repeats them every 0.5 s, as the courses say", () => {
    const endpoint = new Endpoint({ edition: editionNamed(DEFAULT_EDITION), extended: null });
    const times = synTimes({ endpoint, segmentBytes: 1, receiveBufferBytes: 65_536 });
    expect(times).toEqual(Array.from({ length: 20 }, (_, i) => i * 500));
  });
});

interface Outage {
  readonly silenceTimeoutMs?: { client: number; server: number };
  readonly fromMs: number;
  readonly untilMs: number;
}

/** The gaps between a client's datagrams with data while the link is down. */
function gapsInOutage({ silenceTimeoutMs, fromMs, untilMs }: Outage): number[] {
  const simulation = new Simulation(1, { ...PERFECT_LINK, delayMs: 20, bytesPerSecond: 1e6, queueBytes: 100_000 });
  const file = new Uint8Array(2_000_000);
  const accept = () => behaviour(NOTHING, file, { endsLast: true });
  const server = simulation.addHost("server", host({ accept, ...silence(silenceTimeoutMs?.server) }));
  const client = simulation.addHost("client", host(silence(silenceTimeoutMs?.client)));
  const times: number[] = [];
  simulation.onSent = (from, { length }) => {
    if (from === "client" && length > LEAST_DATA_DATAGRAM && simulation.now > fromMs + 1000 && simulation.now < untilMs)
      times.push(simulation.now);
  };
  simulation.connect(client, server, behaviour(file, NOTHING));
  simulation.at(fromMs, () => simulation.changeLinks(() => DOWN));
  simulation.run(untilMs);
  return times.slice(1).map((time, i) => time - (times[i] as number));
}

const silence = (silenceTimeoutMs: number | undefined) => (silenceTimeoutMs === undefined ? {} : { silenceTimeoutMs });
const host = (options: ExtendedHostOptions = {}): HostOptions => extendedHost({ timerTickMs: 1, ...options });

describe("retransmission timeouts of a link that is down", () => {
  test("they double up to an eighth of the silence timeout of 30 s that both ends have", () => {
    const gaps = gapsInOutage({ fromMs: 500, untilMs: 25_000 });
    for (let i = 1; i < gaps.length; i++) {
      const [before, gap] = [gaps[i - 1] as number, gaps[i] as number];
      expect(gap).toBeGreaterThanOrEqual(Math.min(3750, 2 * before) - 5);
      expect(gap).toBeLessThanOrEqual(3755);
    }
    expect(gaps.at(-1)).toBeGreaterThan(3745);
  });

  test.each([
    { client: 30_000, server: 8000 },
    { client: 8000, server: 30_000 },
  ])("the silence timeout negotiated in the handshake bounds them, not this side's own: %o", (silenceTimeoutMs) => {
    const gaps = gapsInOutage({ silenceTimeoutMs, fromMs: 500, untilMs: 8000 });
    expect(gaps.at(-1)).toBeGreaterThan(995);
    expect(Math.max(...gaps)).toBeLessThan(1005);
  });
});

describe("1 kbit/s, where a datagram takes ten seconds", () => {
  /** The lengths of the datagrams that the sender of 4,000 bytes sends until all have arrived. */
  function transfer(): { lengths: number[]; sender: Program } {
    const simulation = new Simulation(1, { ...PERFECT_LINK, delayMs: 50, bytesPerSecond: 125, queueBytes: 65_536 });
    const file = new Uint8Array(4000);
    const accept = () => behaviour(NOTHING, file, { endsLast: true });
    const server = simulation.addHost("server", host({ accept }));
    const client = simulation.addHost("client", host());
    const lengths: number[] = [];
    simulation.onSent = (from, { length }) => from === "client" && lengths.push(length);
    const sender = simulation.connect(client, server, behaviour(file, NOTHING));
    simulation.run();
    return { lengths, sender };
  }

  test("a queue that nothing overtakes is not taken for a narrow path: no probe, no shorter segments", () => {
    const { lengths, sender } = transfer();
    expect(sender.failure).toBeNull();
    expect(lengths).not.toContain(528);
    expect(lengths.filter((length) => length === 1200)).toHaveLength(3);
    // Four segments of the file, a tail loss probe, and a repetition at each timeout.
    const { timeouts } = sender.connection.stats;
    expect(lengths.filter((length) => length > LEAST_DATA_DATAGRAM)).toHaveLength(5 + timeouts);
    expect(timeouts).toBeLessThanOrEqual(4);
  });
});
