import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { addon, type Udp, useAddon } from "../../../../src/native/addon.js";
import { SYSTEM_CLOCK } from "../../../../src/stream/clock.js";
import { REPORTS_SEND_QUEUE, sharesPortsAtOnce } from "../../../../src/stream/datagram/features.js";
import {
  type DatagramSocket,
  openConnected,
  openShared,
  type SharedDatagramSocket,
  type Tier,
} from "../../../../src/stream/datagram/index.js";
import { openServerSocketLater } from "../../../../src/stream/datagram/shared.js";
import { burst, packet, Station, TIERS } from "./station.js";

const linux = process.platform === "linux";
/** Small, odd, one Ethernet packet and one more byte, several IP fragments of one, and the most that loopback takes. */
const SIZES = [8, 9, 100, 1200, 1472, 1473, 4096, 4097, 9000, 32_768, 65_507];

const open: DatagramSocket[] = [];

afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
  useAddon(true);
  vi.restoreAllMocks();
});

async function server(tier: Tier | "auto", handlers: Station, address = "127.0.0.1", port = 0) {
  const shared = openShared({ address, port, tier, handlers });
  open.push(shared);
  return shared;
}

async function client(tier: Tier | "auto", handlers: Station, to: number, remoteAddress = "127.0.0.1") {
  const socket = await openConnected({ remoteAddress, remotePort: to, tier, handlers });
  open.push(socket);
  return socket;
}

/** The server's own socket for the client, opened at its first datagram. */
async function greeted(shared: SharedDatagramSocket, from: DatagramSocket, at: Station, remoteAddress = "127.0.0.1") {
  const seen = at.arrivals.length;
  from.send(packet(0, 8), 8, 0, "");
  await at.arrived(seen + 1);
  const peer = shared.openPeer(remoteAddress, from.address().port);
  return peer ?? shared;
}

describe.each(TIERS)("tier %s", (tier) => {
  test("is what the sockets say they are", async () => {
    const home = new Station();
    const shared = await server(tier, home);
    const socket = await client(tier, new Station(), shared.address().port);
    // What goes through the shared socket takes node:dgram, unless the addon does it.
    expect(shared.tier).toBe(tier === "descriptor" ? "dgram" : tier);
    expect([shared.tierOfPeers, socket.tier]).toEqual([tier, tier]);
    expect((await greeted(shared, socket, home)).tier).toBe(tier);
  });

  test.each([false, true])(
    "bursts keep their boundaries and their order both ways (coalescing: %s)",
    async (coalescing) => {
      const home = new Station();
      const away = new Station();
      const shared = await server(tier, home);
      const socket = await client(tier, away, shared.address().port);
      const peer = await greeted(shared, socket, home);
      if (coalescing) {
        expect(socket.enableCoalescing(false)).toBe(tier === "segmented");
        expect(peer.enableCoalescing(false)).toBe(tier === "segmented");
      }
      const directions = [
        { from: socket, to: home, port: shared.address().port },
        { from: peer, to: away, port: socket.address().port },
      ];
      for (const { from, to, port } of directions) {
        let sequence = to.arrivals.length;
        for (const size of SIZES) {
          for (const [count, last] of [
            [1, size],
            [3, size],
            [70, Math.max(8, size - 1)],
          ] as const) {
            if (count * size > 600_000) continue;
            const first = sequence;
            sequence += count;
            expect(from.send(burst(first, count, size, last), size, port, "127.0.0.1")).toBe(true);
            const got = (await to.arrived(sequence)).slice(first);
            expect(got.map((arrival) => arrival.sequence)).toEqual(Array.from({ length: count }, (_, i) => first + i));
            expect(got.map(({ length }) => length)).toEqual([...Array(count - 1).fill(size), last]);
          }
        }
        expect(new Set(to.arrivals.map(({ from: address }) => address)).size).toBe(1);
      }
      expect(shared.droppedBytes + socket.droppedBytes + peer.droppedBytes).toBe(0);
      const merged = home.deliveries.length < home.arrivals.length;
      expect(merged).toBe(coalescing && tier === "segmented");
    },
  );

  test("a datagram smaller or larger than the segments before it goes out whole", async () => {
    const home = new Station();
    const shared = await server(tier, home);
    const socket = await client(tier, new Station(), shared.address().port);
    for (const [count, size] of [
      [4, 1200],
      [1, 1000],
      [1, 1201],
      [2, 1200],
      [1, 9000],
      [3, 500],
    ] as const) {
      const first = home.arrivals.length;
      socket.send(burst(first, count, size), size, 0, "");
      await home.arrived(first + count);
    }
    expect(home.arrivals.map(({ length }) => length)).toEqual([
      1200, 1200, 1200, 1200, 1000, 1201, 1200, 1200, 9000, 500, 500, 500,
    ]);
  });

  test("several peers at once have one port and get what is theirs", async () => {
    const home = new Station();
    const shared = await server(tier, home);
    const clients = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const station = new Station();
        return { station, socket: await client(tier, station, shared.address().port) };
      }),
    );
    const peers = new Map<number, DatagramSocket>();
    for (const { socket } of clients) peers.set(socket.address().port, await greeted(shared, socket, home));
    home.onArrival = (bytes, address, port) => {
      const peer = peers.get(port);
      expect(peer).toBeDefined();
      peer?.send(new Uint8Array(bytes), 500, port, address);
    };
    for (const [index, { socket }] of clients.entries()) socket.send(burst(index * 100, 20, 500), 500, 0, "");
    for (const [index, { station }] of clients.entries()) {
      const echoed = await station.arrived(20);
      expect(echoed.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 20 }, (_, i) => index * 100 + i));
    }
    // A newcomer, while the others have their own sockets.
    const station = new Station();
    const newcomer = await client(tier, station, shared.address().port);
    peers.set(newcomer.address().port, shared);
    newcomer.send(packet(7, 500), 500, 0, "");
    expect((await station.arrived(1))[0]?.sequence).toBe(7);
  });

  test("when a peer's socket closes, the shared one hears it again", async () => {
    const home = new Station();
    const shared = await server(tier, home);
    const socket = await client(tier, new Station(), shared.address().port);
    const peer = await greeted(shared, socket, home);
    if (peer !== shared) peer.close();
    socket.send(packet(5, 40), 40, 0, "");
    expect((await home.arrived(2))[1]).toEqual({ sequence: 5, length: 40, from: `127.0.0.1 ${socket.address().port}` });
  });

  test("a second server on the port is told EADDRINUSE, peers or not", async () => {
    const home = new Station();
    const shared = await server(tier, home);
    const { port } = shared.address();
    const second = () => openShared({ address: "127.0.0.1", port, tier, handlers: new Station() });
    expect(second).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    const socket = await client(tier, new Station(), port);
    const peer = await greeted(shared, socket, home);
    expect(second).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    if (tier === "segmented") {
      const thief = createSocket({ type: "udp4", reuseAddr: true });
      thief.bind(port, "127.0.0.1");
      const [error] = await once(thief, "error");
      expect(error).toMatchObject({ code: "EADDRINUSE" });
      thief.close();
    }
    peer.close();
    shared.close();
    const next = await second();
    expect(next.address().port).toBe(port);
    next.close();
  });

  test("a peer where nothing listens is a hint, not an error", async () => {
    const gone = createSocket("udp4").bind(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address();
    gone.close();
    const station = new Station();
    const socket = await client(tier, station, port);
    socket.send(packet(1, 100), 100, port, "127.0.0.1");
    await station.until(() => station.hints.length > 0);
    expect(station.hints[0]).toEqual({ code: "ECONNREFUSED", from: `127.0.0.1 ${port}` });
    // The next one is sent again, in spite of what was said of the last.
    socket.send(packet(2, 100), 100, port, "127.0.0.1");
    socket.send(packet(3, 100), 100, port, "127.0.0.1");
    await station.until(() => station.hints.length > 1);
    const listener = new Station();
    await server("dgram", listener, "127.0.0.1", port);
    socket.send(packet(4, 100), 100, port, "127.0.0.1");
    expect((await listener.arrived(1))[0]?.sequence).toBe(4);
  });

  test("more than fits a datagram is dropped with a hint", async () => {
    const station = new Station();
    const shared = await server("dgram", new Station());
    const socket = await client(tier, station, shared.address().port);
    socket.send(new Uint8Array(65_508), 65_508, shared.address().port, "127.0.0.1");
    await station.until(() => station.hints.length > 0);
    expect(station.hints[0]?.code).toBe("EMSGSIZE");
  });

  test("closing leaves nothing open, and closing the shared socket closes its peers", async () => {
    await closings();
    const before = { fds: openDescriptors(), resources: resources() };
    const home = new Station();
    const shared = await server(tier, home);
    const socket = await client(tier, new Station(), shared.address().port);
    const peer = await greeted(shared, socket, home);
    // Handles of ours are not listed.
    const listed = (count: number): number => before.resources + (tier === "segmented" ? 0 : count);
    expect(resources()).toBe(listed(peer === shared ? 2 : 3));
    shared.unref();
    socket.unref();
    peer.unref();
    expect(resources()).toBe(before.resources);
    socket.ref();
    expect(resources()).toBe(listed(1));
    shared.close();
    socket.close();
    socket.close();
    expect(openDescriptors()).toBe(before.fds);
    await closings();
    expect(resources()).toBe(before.resources);
    // Whoever is late does no harm.
    socket.ref();
    socket.unref();
    expect(socket.send(packet(1, 100), 100, 1, "127.0.0.1")).toBe(true);
    expect(peer.send(packet(1, 100), 100, 1, "127.0.0.1")).toBe(true);
    expect(shared.openPeer("127.0.0.1", 9)).toBeNull();
  });

  test.skipIf(!linux)("a server of both families has peers of both", async () => {
    const home = new Station();
    const shared = await server(tier, home, "::");
    for (const [remote, seen] of [
      ["127.0.0.1", "::ffff:127.0.0.1"],
      ["::1", "::1"],
    ] as const) {
      const station = new Station();
      const socket = await client(tier, station, shared.address().port, remote);
      const peer = await greeted(shared, socket, home, seen);
      expect(peer.tier).toBe(tier);
      expect(home.arrivals.at(-1)?.from).toBe(`${seen} ${socket.address().port}`);
      const first = home.arrivals.length;
      socket.send(burst(first, 50, 1200), 1200, 0, "");
      await home.arrived(first + 50);
      expect(new Set(home.arrivals.slice(first).map(({ from }) => from))).toEqual(
        new Set([`${seen} ${socket.address().port}`]),
      );
      peer.send(burst(0, 50, 1200), 1200, socket.address().port, seen);
      expect((await station.arrived(50)).map(({ sequence }) => sequence)).toEqual([...Array(50).keys()]);
      expect(peer.maxDatagramBytes(seen)).toBe(shared.maxDatagramBytes(seen));
    }
  });
});

describe.runIf(TIERS.includes("segmented"))("patience with a dense stream", () => {
  const PATIENCE_MS = 20;

  async function streamed() {
    const home = new Station();
    const away = new Station();
    const shared = await server("auto", home);
    const socket = await client("auto", away, shared.address().port);
    const peer = await greeted(shared, socket, home);
    const fds = openDescriptors();
    peer.bePatient(PATIENCE_MS, SYSTEM_CLOCK);
    const waitFor = vi.spyOn(addon()?.Udp.prototype as Udp, "waitFor");
    let sequence = home.arrivals.length;
    // One by one, each a wake-up of its own, until the event loop does not know the socket any more.
    while (waitFor.mock.lastCall === undefined) {
      socket.send(packet(sequence, 1200), 1200, 0, "");
      await home.arrived(++sequence);
      await closings();
    }
    expect(waitFor.mock.lastCall).toEqual([false, false]);
    return { home, away, shared, socket, peer, fds, waitFor, sequence };
  }

  test("it is looked for instead of waited for, and waited for again when it is over", async () => {
    const { home, away, socket, peer, fds, waitFor, sequence } = await streamed();
    const { batches } = home;
    socket.send(burst(sequence, 100, 1200), 1200, 0, "");
    await home.arrived(sequence + 100);
    expect(home.batches - batches).toBeLessThanOrEqual(3);
    peer.send(burst(0, 50, 1200), 1200, socket.address().port, "127.0.0.1");
    await away.arrived(50);
    while (waitFor.mock.lastCall?.[0] === false) await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
    expect(openDescriptors()).toBe(fds);
    socket.send(burst(sequence + 100, 3, 900), 900, 0, "");
    peer.send(burst(50, 3, 900), 900, socket.address().port, "127.0.0.1");
    const arrivals = await home.arrived(sequence + 103);
    expect(arrivals.map((arrival) => arrival.sequence)).toEqual([0, ...Array(sequence + 102).keys()].map((_, i) => i));
    expect(new Set(arrivals.map(({ from }) => from)).size).toBe(1);
    await away.arrived(53);
  });

  test("closed meanwhile, it leaves nothing open", async () => {
    const { shared, socket, peer, fds } = await streamed();
    peer.unref();
    peer.ref();
    peer.close();
    expect(openDescriptors()).toBe(fds - 1);
    // The shared socket hears the peer again.
    const home = new Station();
    expect(peer.send(packet(1, 100), 100, 0, "")).toBe(true);
    socket.close();
    shared.close();
    await closings();
    expect(openDescriptors()).toBe(fds - 3);
    expect(home.hints).toEqual([]);
  });

  test("closing the shared socket closes it too", async () => {
    const { shared, socket, fds } = await streamed();
    shared.close();
    socket.close();
    await closings();
    expect(openDescriptors()).toBe(fds - 3);
  });
});

test("without the addon the best tier is `descriptor`", async () => {
  useAddon(false);
  const best = linux ? "descriptor" : "dgram";
  const shared = await server("auto", new Station());
  const socket = await client("auto", new Station(), shared.address().port);
  expect([shared.tierOfPeers, socket.tier]).toEqual([best, best]);
  expect(socket.enableCoalescing(false)).toBe(false);
});

test.skipIf(!linux)("peers beyond 256 share the server's socket, and one that closes makes room", async () => {
  const shared = await server("auto", new Station());
  const peers = Array.from({ length: 256 }, (_, index) => shared.openPeer("127.0.0.1", 10_000 + index));
  expect(peers).not.toContain(null);
  expect(shared.openPeer("127.0.0.1", 9999)).toBeNull();
  peers[0]?.close();
  await closings();
  expect(shared.openPeer("127.0.0.1", 9999)).not.toBeNull();
});

test("an address that is not this machine's, and a peer without a route, are told", async () => {
  const handlers = new Station();
  expect(() => openShared({ address: "192.0.2.77", port: 0, handlers })).toThrow(
    expect.objectContaining({
      code: "EADDRNOTAVAIL",
    }),
  );
  const before = openDescriptors();
  const options = { remoteAddress: "203.0.113.1", remotePort: 9, localAddress: "127.0.0.1", handlers };
  await expect(openConnected(options)).rejects.toBeInstanceOf(Error);
  const shared = await server("auto", handlers);
  expect(shared.openPeer("203.0.113.1", 9)).toBeNull();
  shared.close();
  expect(openDescriptors()).toBe(before);
});

function openDescriptors(): number {
  return linux ? readdirSync("/proc/self/fd").length : 0;
}

function resources(): number {
  return process.getActiveResourcesInfo().filter((name) => name.startsWith("UDP")).length;
}

/** The turn of the event loop in which closed handles are forgotten. */
async function closings(): Promise<void> {
  await new Promise(setImmediate);
  await new Promise(setImmediate);
}

test("where sockets cannot share a port at once, a server has one socket of the tier dgram", async () => {
  const home = new Station();
  const shared = await openServerSocketLater({ address: "127.0.0.1", port: 0, handlers: home });
  open.push(shared);
  expect([shared.tier, shared.tierOfPeers]).toEqual(["dgram", "dgram"]);
  const { port } = shared.address();
  const socket = await client("auto", new Station(), port);
  socket.send(packet(0, 100), 100, port, "127.0.0.1");
  await home.arrived(1);
  expect(shared.openPeer("127.0.0.1", socket.address().port)).toBeNull();
  const second = openServerSocketLater({ address: "127.0.0.1", port, handlers: new Station() });
  await expect(second).rejects.toMatchObject({ code: "EADDRINUSE", syscall: "bind" });
});

test("Node's sockets share a port at once, and report what waits to be sent", () => {
  expect([sharesPortsAtOnce(), REPORTS_SEND_QUEUE]).toEqual([true, true]);
});

test.skipIf(!linux)(
  "beyond 512 sockets no more descriptors are searched for, and one that closes makes room",
  async () => {
    const shared = await server("dgram", new Station());
    const { port } = shared.address();
    const sockets: DatagramSocket[] = [];
    for (let i = 0; i < 512; i++) sockets.push(await client("descriptor", new Station(), port));
    expect(new Set(sockets.map(({ tier }) => tier))).toEqual(new Set(["descriptor"]));
    expect((await client("descriptor", new Station(), port)).tier).toBe("dgram");
    sockets[0]?.close();
    expect((await client("descriptor", new Station(), port)).tier).toBe("descriptor");
  },
);
