/**
 * CPU per packet in the core.
 *
 * A client endpoint sends a stream to a server endpoint through an array, without sockets. A packet is one `transmit()`
 * that returned a datagram together with what its sender and its receiver do about it: `transmit`, the copy that stands
 * for the network, `receive`, `read`, `write`, `signals` and `settle`. Data and acknowledgements count alike, so a segment
 * and its ACK are two packets. Simulated time stands in for waiting: the figure is CPU time of this process.
 *
 *   npm run build && node bench/core.ts [MiB]
 */
import {
  CONTROLLER_NAMES,
  type Connection,
  EDITION_NAMES,
  EDITIONS,
  Endpoint,
  type EndpointOptions,
  MAX_DATAGRAM_BYTES,
  type Memory,
  Signal,
} from "confundo/protocol";

const MEBIBYTE = 1024 * 1024;
const DELAY_MS = 10;
const ROUNDS = 3;
/** As the sockets give it to the core. */
const MEMORY: Memory = {
  allocate: (bytes) => Buffer.allocUnsafeSlow(bytes),
  copy: (source, from, to, target, at) => {
    Buffer.prototype.copy.call(source, target, at, from, to);
  },
};

interface Result {
  packets: number;
  nsPerPacket: number;
}

class Side {
  readonly endpoint: Endpoint;
  readonly name: string;
  /** What is on its way to this side. */
  inbox: Uint8Array[] = [];

  constructor(name: string, options: EndpointOptions) {
    this.name = name;
    this.endpoint = new Endpoint({ ...options, accept: name === "server" });
  }

  takeInbox(): Uint8Array[] {
    const datagrams = this.inbox;
    this.inbox = [];
    return datagrams;
  }
}

function transfer(options: EndpointOptions, bytes: number): Result {
  const client = new Side("client", { ...options, memory: MEMORY });
  const server = new Side("server", { ...options, memory: MEMORY });
  const out = new Uint8Array(MAX_DATAGRAM_BYTES);
  const chunk = new Uint8Array(64 * 1024);
  let now = 0;
  let packets = 0;
  let written = 0;
  let received = 0;
  let writable = true;

  const drain = (from: Side, to: Side, connection: Connection): void => {
    for (;;) {
      const length = connection.transmit(out, now);
      if (length === 0) break;
      // The extended edition hands over several datagrams at once.
      const { datagramBytes } = connection;
      for (let at = 0; at < length; at += datagramBytes) {
        packets++;
        to.inbox.push(out.slice(at, Math.min(length, at + datagramBytes)));
      }
    }
    from.endpoint.settle(connection);
  };
  const feed = (connection: Connection): void => {
    while (writable && written < bytes) {
      writable = connection.write(chunk, now);
      written += chunk.length;
    }
    if (writable) connection.end(now);
  };

  const expire = (side: Side, peer: Side): void => {
    for (let due = side.endpoint.expire(now); due !== null; due = side.endpoint.expire(now)) drain(side, peer, due);
  };

  const before = process.cpuUsage();
  const connection = client.endpoint.connect("server", 1);
  connection.shortSegments = "never";
  connection.open(now);
  feed(connection);
  drain(client, server, connection);
  while (received < bytes) {
    now += DELAY_MS;
    expire(client, server);
    expire(server, client);
    for (const datagram of server.takeInbox()) {
      const accepted = server.endpoint.receive(datagram, "client", 1, now);
      if (accepted === null) throw new Error("dropped by the server");
      for (let part = accepted.read(); part !== null; part = accepted.read()) received += part.length;
      accepted.signals();
      drain(server, client, accepted);
    }
    for (const datagram of client.takeInbox()) {
      const answered = client.endpoint.receive(datagram, "server", 1, now);
      if (answered === null) throw new Error("dropped by the client");
      if (answered.signals() & Signal.writable) {
        writable = true;
        feed(answered);
      }
      drain(client, server, answered);
    }
  }
  const used = process.cpuUsage(before);
  return { packets, nsPerPacket: ((used.user + used.system) * 1000) / packets };
}

/** The best of a few rounds. */
function report(name: string, options: EndpointOptions, bytes: number): void {
  const rounds = Array.from({ length: ROUNDS }, () => transfer(options, bytes));
  const best = rounds.reduce((one, other) => (other.nsPerPacket < one.nsPerPacket ? other : one));
  const figure = `${(best.nsPerPacket / 1000).toFixed(2)} µs a packet`;
  console.log(`${name.padEnd(22)} ${figure}  (${best.packets} packets, best of ${ROUNDS})`);
}

const bytes = Number(process.argv[2] ?? 32) * MEBIBYTE;
const edition = EDITIONS["fiu-2023"];
transfer({ edition }, 4 * MEBIBYTE);
for (const name of EDITION_NAMES) report(name, { edition: EDITIONS[name] }, bytes);
for (const maxDatagramBytes of [1472, MAX_DATAGRAM_BYTES]) {
  for (const congestion of CONTROLLER_NAMES) {
    const extended = {
      random: Math.random,
      required: true,
      windowBytes: 4 * MEBIBYTE,
      maxDatagramBytes: () => maxDatagramBytes,
      congestion,
    };
    // Larger datagrams need more bytes for as many of them.
    const total = bytes * Math.max(4, maxDatagramBytes / 8192);
    report(`extended ${congestion} ${maxDatagramBytes}`, { edition, extended }, total);
  }
}
