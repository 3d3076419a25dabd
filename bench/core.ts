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
import { type Connection, EDITION_NAMES, EDITIONS, type Edition, Endpoint, Signal } from "confundo/protocol";

const MEBIBYTE = 1024 * 1024;
const DELAY_MS = 10;
const ROUNDS = 3;

interface Result {
  packets: number;
  nsPerPacket: number;
}

class Side {
  readonly endpoint: Endpoint;
  readonly name: string;
  /** What is on its way to this side. */
  inbox: Uint8Array[] = [];

  constructor(name: string, edition: Edition) {
    this.name = name;
    this.endpoint = new Endpoint({ edition, accept: name === "server" });
  }

  takeInbox(): Uint8Array[] {
    const datagrams = this.inbox;
    this.inbox = [];
    return datagrams;
  }
}

function transfer(edition: Edition, bytes: number): Result {
  const client = new Side("client", edition);
  const server = new Side("server", edition);
  const out = new Uint8Array(2048);
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
      packets++;
      to.inbox.push(out.slice(0, length));
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

  const before = process.cpuUsage();
  const connection = client.endpoint.connect("server", 1);
  connection.shortSegments = "never";
  connection.open(now);
  feed(connection);
  drain(client, server, connection);
  while (received < bytes) {
    now += DELAY_MS;
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

const bytes = Number(process.argv[2] ?? 32) * MEBIBYTE;
transfer(EDITIONS["fiu-2023"], 4 * MEBIBYTE);
for (const name of EDITION_NAMES) {
  const rounds = Array.from({ length: ROUNDS }, () => transfer(EDITIONS[name], bytes));
  const best = rounds.reduce((one, other) => (other.nsPerPacket < one.nsPerPacket ? other : one));
  const figure = `${(best.nsPerPacket / 1000).toFixed(2)} µs a packet`;
  console.log(`${name.padEnd(10)} ${figure}  (${best.packets} packets, best of ${ROUNDS})`);
}
