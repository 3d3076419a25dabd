/** The peers whose connections are streams both ways. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { connect, createServer } from "confundo";
import { dialUdx, serveUdx, type Way } from "./peers.js";

const HOST = "127.0.0.1";

/** Returns the port. udx-native's server knows one client. */
export async function serve(way: Way, onConnection: (socket: Duplex) => void): Promise<number> {
  if (way.peer === "udx-native") return serveUdx(HOST, onConnection);
  const server =
    way.peer === "node:net"
      ? net.createServer({ noDelay: true, keepAlive: true }, onConnection)
      : createServer({ ...way.options, noDelay: true }, onConnection);
  server.listen({ port: 0, host: HOST, backlog: 1024 });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A connection that is being opened. */
export function begin(way: Way, port: number): Duplex {
  return way.peer === "node:net"
    ? net.connect({ port, host: HOST, noDelay: true, keepAlive: true })
    : connect({ ...way.options, port, host: HOST, noDelay: true, keepAlive: true });
}

export async function dial(way: Way, port: number): Promise<Duplex> {
  if (way.peer === "udx-native") return dialUdx(HOST, port);
  const socket = begin(way, port);
  await once(socket, "connect");
  return socket;
}
