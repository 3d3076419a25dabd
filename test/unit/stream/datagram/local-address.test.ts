import { once } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { useAddon } from "../../../../src/native/addon.js";
import {
  type DatagramSocket,
  openConnected,
  openShared,
  type SharedDatagramSocket,
} from "../../../../src/stream/datagram/index.js";
import { localAddresses } from "../../../../src/stream/datagram/local-sockets.js";
import { openServerSocket } from "../../../../src/stream/datagram/shared.js";
import { connect, createServer } from "../../../../src/stream/index.js";
import { burst, packet, Station, TIERS } from "./station.js";

/** Loopback has all of 127.0.0.0/8, and answers from 127.0.0.1 unless it is told another: as a host with two addresses. */
const linux = process.platform === "linux";
const SECOND = "127.0.0.2";

const open: DatagramSocket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
  useAddon(true);
});

describe.runIf(linux).each(TIERS)("a server bound to all addresses, tier %s", (tier) => {
  /** What the system lists is not what it takes on loopback. */
  const addresses = [SECOND, "127.0.0.1"];

  async function server(station: Station, address: string): Promise<SharedDatagramSocket> {
    const options = { address, port: 0, tier, handlers: station };
    const shared =
      tier === "segmented"
        ? openShared(options)
        : openServerSocket(options, ({ type }) => addresses.map((each) => (type === "udp6" ? `::ffff:${each}` : each)));
    open.push(shared);
    return shared;
  }

  test.each([
    ["0.0.0.0", SECOND],
    ["::", `::ffff:${SECOND}`],
  ])("on %s answers from the address that was dialled, by its own socket and by a peer's", async (any, local) => {
    const home = new Station();
    const shared = await server(home, any);
    const away = new Station();
    const { port } = shared.address();
    const client = await openConnected({ remoteAddress: SECOND, remotePort: port, tier, handlers: away });
    open.push(client);
    const from = any === "::" ? "::ffff:127.0.0.1" : "127.0.0.1";
    client.send(packet(0, 100), 100, port, SECOND);
    await home.arrived(1);
    expect(home.locals).toEqual([local]);
    // The kernel hands to a connected socket only what comes from its peer's address.
    shared.send(burst(0, 10, 700), 700, client.address().port, from, local);
    await away.arrived(10);
    const peer = shared.openPeer(from, client.address().port, local);
    peer?.send(burst(10, 10, 700), 700, client.address().port, from, local);
    if (peer !== null) await away.arrived(20);
    expect(peer === null).toBe(tier === "dgram");
    client.send(packet(1, 100), 100, port, SECOND);
    await home.arrived(2);
    expect(home.locals).toEqual([local, local]);
  });

  test("tells two clients' addresses apart that come in one wake-up", async () => {
    const home = new Station();
    const shared = await server(home, "0.0.0.0");
    const { port } = shared.address();
    const clients = await Promise.all(
      addresses.map((remoteAddress) =>
        openConnected({ remoteAddress, remotePort: port, tier, handlers: new Station() }),
      ),
    );
    open.push(...clients);
    for (let sequence = 0; sequence < 10; sequence++) {
      for (const client of clients) client.send(packet(sequence, 100), 100, port, "");
    }
    const arrivals = await home.arrived(20);
    const ports = clients.map((client) => client.address().port);
    const seen = arrivals.map(({ from }, index) => `${from.split(" ")[1]} ${home.locals[index]}`);
    expect(new Set(seen)).toEqual(new Set(addresses.map((address, index) => `${ports[index]} ${address}`)));
  });
});

test.runIf(linux)("addresses that come later get a socket when the first datagram comes to them", async () => {
  const home = new Station();
  const addresses = ["127.0.0.1"];
  const shared = openServerSocket({ address: "0.0.0.0", port: 0, tier: "dgram", handlers: home }, () => addresses);
  open.push(shared);
  const { port } = shared.address();
  const away = new Station();
  const client = await openConnected({ remoteAddress: SECOND, remotePort: port, handlers: away });
  open.push(client);
  client.send(packet(0, 100), 100, port, "");
  await home.arrived(1);
  expect(home.locals).toEqual([""]);
  addresses.push(SECOND);
  let sequence = 1;
  while (home.locals.at(-1) !== SECOND) {
    client.send(packet(sequence, 100), 100, port, "");
    await home.arrived(++sequence);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  shared.send(packet(0, 100), 100, client.address().port, "127.0.0.1", SECOND);
  await away.arrived(1);
});

test("the addresses of this machine are those of a family", () => {
  const v4 = localAddresses({ type: "udp4" });
  expect(v4).toContain("127.0.0.1");
  expect(v4.every((address) => /^[\d.]+$/.test(address))).toBe(true);
  const both = localAddresses({ type: "udp6" });
  expect(both).toContain("::ffff:127.0.0.1");
  const v6 = localAddresses({ type: "udp6", ipv6Only: true });
  expect(v6.some((address) => address.includes("."))).toBe(false);
  expect(both.length).toBe(v4.length + v6.length);
});

test.runIf(linux).each(["0.0.0.0", "::"])("streams to a second address of a server on %s arrive whole", async (any) => {
  const bytes = Buffer.alloc(2_000_000, "abcdefg");
  for (const edition of [{}, { extended: false }]) {
    await using server = createServer(edition);
    server.listen(0, any);
    await once(server, "listening");
    const port = server.address()?.port as number;
    const socket = connect({ ...edition, host: SECOND, port });
    const [peer] = await once(server, "connection");
    expect(peer.localAddress).toBe(any === "::" ? `::ffff:${SECOND}` : SECOND);
    expect(peer.localPort).toBe(port);
    const sent = edition.extended === false ? bytes.subarray(0, 100_000) : bytes;
    // Much is sent by a socket of its own.
    peer.end(sent);
    const read = await socket.toArray();
    expect(Buffer.concat(read).equals(sent)).toBe(true);
    socket.destroy();
  }
});
