/** The limits of the datagram layer, some of them with smaller numbers. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openConnected, openShared } from "../../../../src/stream/datagram/index.js";
import {
  MAX_KNOWN_SERVERS,
  MOST_DESCRIPTORS,
  MOST_LOCAL_ADDRESSES,
  MOST_PEERS,
  QUEUE_BYTES,
} from "../../../../src/stream/datagram/limits.js";
import { localAddresses } from "../../../../src/stream/datagram/local-sockets.js";
import { PortableSocket } from "../../../../src/stream/datagram/portable.js";
import { KnownServers } from "../../../../src/stream/known-servers.js";
import { Station, TIERS } from "./station.js";

vi.mock("node:os", async (original) => ({
  ...(await original<typeof import("node:os")>()),
  networkInterfaces: () => ({
    eth0: Array.from({ length: 100 }, (_, i) => ({ address: `192.0.2.${i}`, family: "IPv4" })),
  }),
}));
vi.mock("../../../../src/stream/datagram/limits.js", async (original) => ({
  ...(await original<typeof import("../../../../src/stream/datagram/limits.js")>()),
  MOST_DESCRIPTORS: 2,
  MOST_PEERS: 3,
}));

test("MAX_KNOWN_SERVERS: of more, the one that was used least recently is forgotten", () => {
  const known = new KnownServers();
  for (let port = 1; port <= MAX_KNOWN_SERVERS; port++) known.add("192.0.2.1", port);
  known.add("192.0.2.1", 1);
  known.add("192.0.2.1", MAX_KNOWN_SERVERS + 1);
  const ports = [1, 2, 3, MAX_KNOWN_SERVERS + 1];
  expect(ports.map((port) => known.has("192.0.2.1", port))).toEqual([true, false, true, true]);
});

test("MOST_LOCAL_ADDRESSES: the others of this machine share one socket", () => {
  expect(localAddresses({ type: "udp4" })).toHaveLength(MOST_LOCAL_ADDRESSES);
});

test("QUEUE_BYTES wait for the kernel, and what comes then is dropped", async () => {
  const udp = createSocket("udp4");
  const bound = once(udp.bind(0, "127.0.0.1"), "listening");
  await bound;
  let waiting = QUEUE_BYTES - 100;
  const sent: number[] = [];
  Object.assign(udp, {
    getSendQueueSize: () => waiting,
    send: ((...[, , length]: [unknown, unknown, number]) => void sent.push(length)) as unknown as Socket["send"],
  });
  const socket = new PortableSocket(udp, new Station(), null);
  onTestFinished(() => socket.close());
  const send = (): boolean => socket.send(new Uint8Array(100), 100, 9, "127.0.0.1");
  expect(send()).toBe(true);
  expect([sent, socket.droppedBytes]).toEqual([[100], 0]);
  waiting++;
  expect(send()).toBe(true);
  expect([sent, socket.droppedBytes]).toEqual([[100], 100]);
});

describe.each(TIERS)("tier %s", (tier) => {
  test("MOST_PEERS have a socket of their own; more share the server's, until one closes", () => {
    const shared = openShared({ address: "127.0.0.1", port: 0, tier, handlers: new Station() });
    onTestFinished(() => shared.close());
    const open = (port: number) => {
      const peer = shared.openPeer("127.0.0.1", port);
      if (peer !== null) onTestFinished(() => peer.close());
      return peer;
    };
    // Of two descriptors one is left for a client.
    const most = tier === "dgram" ? 0 : tier === "descriptor" ? MOST_DESCRIPTORS : MOST_PEERS;
    const peers = Array.from({ length: MOST_PEERS + 1 }, (_, i) => open(1000 + i));
    expect(peers.map((peer) => peer !== null)).toEqual(peers.map((_, i) => i < most));
    peers[0]?.close();
    if (most > 0) expect(open(2000)).not.toBeNull();
  });
});

test.runIf(TIERS.includes("descriptor"))("MOST_DESCRIPTORS: more sockets go through node:dgram", async () => {
  const sockets = await Promise.all(
    Array.from({ length: MOST_DESCRIPTORS + 1 }, () =>
      openConnected({ remoteAddress: "127.0.0.1", remotePort: 9, tier: "descriptor", handlers: new Station() }),
    ),
  );
  onTestFinished(() => {
    for (const socket of sockets) socket.close();
  });
  expect(sockets.filter((socket) => socket.tier === "descriptor")).toHaveLength(MOST_DESCRIPTORS);
});
