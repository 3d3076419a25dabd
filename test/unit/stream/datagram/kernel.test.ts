import * as fs from "node:fs";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { constants, networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { addon, type Udp } from "../../../../src/native/addon.js";
import { openConnectedSocket } from "../../../../src/stream/datagram/connected.js";
import { countListeners, findDescriptor } from "../../../../src/stream/datagram/descriptor.js";
import { type DatagramSocket, openConnected, openShared, type Tier } from "../../../../src/stream/datagram/index.js";
import { maxDatagramBytes } from "../../../../src/stream/datagram/mtu.js";
import { bind, createUdp } from "../../../../src/stream/datagram/udp.js";
import { burst, packet, Station, TIERS } from "./station.js";

// What the kernel says is here in part what a test says.
vi.mock("node:fs", async (original) => {
  const real = await original<typeof fs>();
  return { ...real, writeSync: vi.fn(real.writeSync) };
});

const linux = process.platform === "linux";
const CONNECTED = TIERS.filter((tier) => tier !== "dgram");
const HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";

function row(local: string, remote: string, inode: number, waiting = 0): string {
  const queues = `00000000:${waiting.toString(16).padStart(8, "0")}`;
  return ` 4652: ${local} ${remote} 01 ${queues} 00:00000000 00000000     0        0 ${inode} 2 0000000084d7c473 0\n`;
}

describe.skipIf(!linux)("a descriptor is found by what /proc says", () => {
  let proc: string;
  const local = { address: "127.0.0.1", port: 0xbeec, family: "IPv4" } as const;
  const remote = { address: "10.1.2.3", port: 0x15b3 };

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), "confundo-proc-"));
    mkdirSync(join(proc, "self/net"), { recursive: true });
    mkdirSync(join(proc, "self/fd"));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  function has(descriptors: Record<number, string>, udp: string, udp6 = ""): void {
    for (const [fd, target] of Object.entries(descriptors)) symlinkSync(target, join(proc, "self/fd", fd));
    writeFileSync(join(proc, "self/net/udp"), HEAD + udp);
    writeFileSync(join(proc, "self/net/udp6"), HEAD + udp6);
  }

  test("by its pair of addresses, among others on the port", () => {
    has(
      { 3: "socket:[100]", 4: "socket:[101]", 5: "socket:[102]", 6: "/dev/null", 7: "pipe:[101]" },
      row("0100007F:BEEC", "00000000:0000", 100) +
        row("0100007F:BEEC", "0302010A:15B3", 101, 768) +
        row("0100007F:BEEC", "0402010A:15B3", 102) +
        row("0200007F:BEEC", "00000000:0000", 103) +
        row("0100007F:BEED", "0302010A:15B3", 104),
    );
    expect(findDescriptor(local, remote, proc)).toEqual({ fd: 4, waitingBytes: 768 });
    expect(findDescriptor(local, null, proc)).toEqual({ fd: 3, waitingBytes: 0 });
    expect(findDescriptor(local, { ...remote, port: 1 }, proc)).toBeNull();
    expect(countListeners(local, proc)).toBe(1);
    expect(countListeners({ ...local, address: "0.0.0.0" }, proc)).toBe(2);
  });

  test("of another process's socket there is none", () => {
    has({ 3: "socket:[100]" }, row("0100007F:BEEC", "0302010A:15B3", 200));
    expect(findDescriptor(local, remote, proc)).toBeNull();
  });

  test("with another process's socket on the same addresses, ours is found", () => {
    const pair = row("0100007F:BEEC", "0302010A:15B3", 200) + row("0100007F:BEEC", "0302010A:15B3", 100);
    has({ 3: "socket:[100]" }, pair);
    expect(findDescriptor(local, remote, proc)?.fd).toBe(3);
  });

  test("of two that look the same there is none", () => {
    const pair = row("0100007F:BEEC", "0302010A:15B3", 100) + row("0100007F:BEEC", "0302010A:15B3", 101);
    has({ 3: "socket:[100]", 4: "socket:[101]" }, pair);
    expect(findDescriptor(local, remote, proc)).toBeNull();
  });

  test("IPv6, compressed, mapped, and with a zone", () => {
    has(
      { 3: "socket:[100]", 4: "socket:[101]" },
      "",
      row("00000000000000000000000001000000:BEEC", "000080FE00000000FF00FC0001000000:15B3", 100) +
        row("0000000000000000FFFF00000100007F:BEEC", "0000000000000000FFFF00000302010A:15B3", 101),
    );
    const six = { address: "::1", port: 0xbeec, family: "IPv6" } as const;
    expect(findDescriptor(six, { address: "fe80::fc:ff:0:1%eth0", port: 0x15b3 }, proc)?.fd).toBe(3);
    expect(findDescriptor(six, { address: "fe80:0:0:0:fc:ff:0:1", port: 0x15b3 }, proc)?.fd).toBe(3);
    const mapped = { ...six, address: "::ffff:127.0.0.1" };
    expect(findDescriptor(mapped, { address: "::ffff:10.1.2.3", port: 0x15b3 }, proc)?.fd).toBe(4);
    expect(findDescriptor(mapped, { address: "::ffff:a01:203", port: 0x15b3 }, proc)?.fd).toBe(4);
  });

  test("where /proc is missing or says something else there is none", () => {
    expect(findDescriptor(local, remote, join(proc, "none"))).toBeNull();
    has({ 3: "socket:[100]" }, "something else\n\n 1: 0100007F:BEEC\n");
    expect(findDescriptor(local, remote, proc)).toBeNull();
  });
});

describe.skipIf(!linux)("what the kernel may say to a connected socket", () => {
  const open: DatagramSocket[] = [];
  afterEach(() => {
    for (const socket of open.splice(0)) socket.close();
    vi.mocked(fs.writeSync).mockClear();
    vi.restoreAllMocks();
  });

  async function pair(tier: Tier) {
    const home = new Station();
    const away = new Station();
    const shared = await openShared({ address: "127.0.0.1", port: 0, handlers: home });
    const { port } = shared.address();
    const socket = await openConnected({ remoteAddress: "127.0.0.1", remotePort: port, tier, handlers: away });
    open.push(shared, socket);
    return { home, away, socket };
  }

  /** Refuses to send so many times, and returns the mock of what sends. */
  function refuse(tier: Tier, times: number, code: "EAGAIN" | "EIO" | "EINVAL" | "ENETUNREACH" | "EPERM") {
    const native = addon();
    if (tier === "segmented" && native !== null) {
      const send = vi.spyOn(native.Udp.prototype as Udp, "send");
      for (let time = 0; time < times; time++) send.mockReturnValueOnce(-constants.errno[code]);
      return send;
    }
    for (let time = 0; time < times; time++) {
      vi.mocked(fs.writeSync).mockImplementationOnce(() => {
        throw Object.assign(new Error(code), { code });
      });
    }
    return vi.mocked(fs.writeSync);
  }

  test.each(CONNECTED)("EAGAIN: the rest waits and then goes, in order (%s)", async (tier) => {
    const { home, socket } = await pair(tier);
    expect(socket.send(burst(0, 4, 900), 900, 0, "")).toBe(true);
    refuse(tier, 1, "EAGAIN");
    expect(socket.send(burst(4, 100, 900, 500), 900, 0, "")).toBe(false);
    expect(socket.send(burst(104, 3, 600), 600, 0, "")).toBe(false);
    refuse(tier, 1, "EAGAIN");
    const arrivals = await home.arrived(107);
    expect(arrivals.map(({ sequence }) => sequence)).toEqual([...Array(107).keys()]);
    expect(arrivals.map(({ length }) => length)).toEqual([...Array(103).fill(900), 500, 600, 600, 600]);
    expect(socket.send(burst(107, 1, 900), 900, 0, "")).toBe(true);
    expect(socket.droppedBytes).toBe(0);
  });

  test.each(CONNECTED)("EAGAIN for long: what is too much is dropped, and counted (%s)", async (tier) => {
    const { home, socket } = await pair(tier);
    refuse(tier, 1, "EAGAIN");
    const sends = Array.from({ length: 100 }, (_, index) => socket.send(burst(index, 1, 60_000), 60_000, 0, ""));
    expect(sends).not.toContain(true);
    expect(socket.droppedBytes).toBeGreaterThan(1_000_000);
    await home.arrived(1);
  });

  test.each(CONNECTED)("closed while datagrams wait (%s)", async (tier) => {
    const { away, socket } = await pair(tier);
    refuse(tier, 1, "EAGAIN");
    socket.send(burst(0, 4, 900), 900, 0, "");
    socket.close();
    await new Promise(setImmediate);
    expect(away.hints).toEqual([]);
  });

  test.runIf(CONNECTED.includes("segmented")).each(["EIO", "EINVAL"] as const)(
    "%s of a burst: this device cannot be segmented for, so each datagram goes alone from now on",
    async (code) => {
      const { home, away, socket } = await pair("segmented");
      const send = refuse("segmented", 1, code);
      expect(socket.send(burst(0, 10, 1200, 700), 1200, 0, "")).toBe(true);
      expect((await home.arrived(10)).map(({ sequence }) => sequence)).toEqual([...Array(10).keys()]);
      expect(socket.tier).toBe("descriptor");
      expect(away.hints).toEqual([]);
      socket.send(burst(10, 3, 1200), 1200, 0, "");
      await home.arrived(13);
      // One that was refused, and one for each burst: that takes a single call still.
      expect(send).toHaveBeenCalledTimes(1 + 1 + 1);
    },
  );

  test.each(CONNECTED)("whatever else: a hint, and a loss (%s)", async (tier) => {
    const { home, away, socket } = await pair(tier);
    refuse(tier, 2, "ENETUNREACH");
    expect(socket.send(packet(1, 100), 100, 0, "")).toBe(true);
    expect(away.hints.map(({ code }) => code)).toEqual(["ENETUNREACH", "ENETUNREACH"]);
    expect(socket.droppedBytes).toBe(100);
    refuse(tier, 1, "EPERM");
    socket.send(packet(2, 100), 100, 0, "");
    expect((await home.arrived(1))[0]?.sequence).toBe(2);
  });

  test("datagrams of others from before the socket was connected keep their senders", async () => {
    const udp = createUdp({ type: "udp4" });
    await bind(udp, "127.0.0.1", 0);
    const { port } = udp.address();
    const to = { remoteAddress: "127.0.0.1", remotePort: port, handlers: new Station() };
    const stranger = await openConnected(to);
    const friend = await openConnected(to);
    open.push(stranger, friend);
    const friendPort = friend.address().port;
    // All in one turn: the event loop has read nothing when the socket is connected.
    for (let sequence = 0; sequence < 3; sequence++) stranger.send(packet(sequence, 100), 100, 0, "");
    udp.connect(friendPort, "127.0.0.1");
    for (let sequence = 3; sequence < 200; sequence++) friend.send(packet(sequence, 100), 100, 0, "");
    const station = new Station();
    const socket = openConnectedSocket(udp, station, { address: "127.0.0.1", port: friendPort }, "descriptor");
    open.push(socket);
    expect(socket.tier).toBe("descriptor");
    const arrivals = await station.arrived(200);
    expect(arrivals.slice(0, 3).map(({ from }) => from)).toEqual(Array(3).fill(`127.0.0.1 ${stranger.address().port}`));
    expect(new Set(arrivals.slice(3).map(({ from }) => from))).toEqual(new Set([`127.0.0.1 ${friendPort}`]));
    expect(arrivals.map(({ sequence }) => sequence)).toEqual([...Array(200).keys()]);
  });
});

describe("the largest datagram worth trying", () => {
  test.runIf(linux)("is what loopback takes, to any address of this machine", () => {
    expect(maxDatagramBytes("127.0.0.1", "127.0.0.1")).toBe(65_507);
    expect(maxDatagramBytes("127.0.0.2", "127.0.0.3")).toBe(65_507);
    expect(maxDatagramBytes("::ffff:127.0.0.1", "::ffff:127.0.0.1")).toBe(65_507);
    for (const { address } of Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])) {
      expect(maxDatagramBytes(address, address)).toBeGreaterThan(65_000);
    }
  });

  test.runIf(linux)("is an interface's MTU less the headers, to others", () => {
    for (const [name, addresses] of Object.entries(networkInterfaces())) {
      for (const { address, family, internal } of addresses ?? []) {
        if (internal || !existsSync(`/sys/class/net/${name}/mtu`)) continue;
        const mtu = Number(readFileSync(`/sys/class/net/${name}/mtu`, "latin1"));
        const [other, headers] = family === "IPv4" ? ["203.0.113.1", 28] : ["2001:db8::1", 48];
        expect(maxDatagramBytes(address, other)).toBe(Math.min(mtu - headers, 65_507));
      }
    }
  });

  test("is Ethernet's where nothing is known", () => {
    expect(maxDatagramBytes("203.0.113.2", "203.0.113.1")).toBe(1472);
    expect(maxDatagramBytes("2001:db8::2", "2001:db8::1")).toBe(1452);
    expect(maxDatagramBytes("", "::ffff:203.0.113.1")).toBe(1472);
  });

  test.runIf(linux)("asking opens nothing for good", async () => {
    const shared = await openShared({ address: "0.0.0.0", port: 0, handlers: new Station() });
    const before = readdirSync("/proc/self/fd").length;
    expect(shared.maxDatagramBytes("127.0.0.1")).toBe(65_507);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
    shared.close();
  });
});
