/**
 * The transports that are compared, each behind the same two calls: listen for one stream of bytes and read it, connect
 * and send one. What is not a dependency of this project is looked for when it is wanted.
 */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type ConfundoSocket, type ConnectOptions, connect, createServer } from "confundo";

/** One way to move bytes. It goes to other processes as JSON. */
export interface Way {
  readonly name: string;
  readonly peer: "confundo" | "node:net" | "udx-native" | "quinn";
  /** For Confundo: what both ends are made with. */
  readonly options?: Pick<ConnectOptions, "congestion" | "edition" | "extended" | "maxDatagramBytes" | "tier">;
  /** For node:net on a link: the kernel's congestion control. */
  readonly congestion?: string;
}

export const TCP: Way = { name: "node:net", peer: "node:net" };
export const UDX: Way = { name: "udx-native", peer: "udx-native" };
export const QUINN: Way = { name: "quinn", peer: "quinn" };

/** What Confundo says of a connection; null for others. */
export type Stats = (ConfundoSocket["stats"] & { readonly edition: string; readonly cwnd: number }) | null;

export interface Listener {
  readonly port: number;
  /** The bytes of the first stream that comes. */
  readonly incoming: AsyncIterable<Uint8Array>;
  stats(): Stats;
}

export interface Sending {
  /** Settles when the transport has done what it can to see the bytes off. */
  readonly done: Promise<void>;
  /** Settles when the connection is closed; rejects when it failed after everything had been done. */
  readonly closed: Promise<void>;
  stats(): Stats;
}

const READ_BYTES = 64 * 1024;

const PACKAGES: Partial<Record<Way["peer"], string>> = {
  "udx-native": "udx-native",
  quinn: "@chainsafe/libp2p-quic",
};

/** Whether what this way needs is there. */
export function isInstalled(way: Way): boolean {
  const name = PACKAGES[way.peer];
  if (name === undefined) return true;
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}

export async function listen(way: Way, host: string): Promise<Listener> {
  if (way.peer === "udx-native") return listenUdx(host);
  if (way.peer === "quinn") return listenQuinn(host);
  const server = way.peer === "node:net" ? net.createServer() : createServer(way.options ?? {});
  const sockets = once(server, "connection");
  server.listen(0, host);
  await once(server, "listening");
  let socket: net.Socket | ConfundoSocket | null = null;
  return {
    port: (server.address() as AddressInfo).port,
    incoming: afterwards(async () => {
      [socket] = (await sockets) as [net.Socket | ConfundoSocket];
      return socket;
    }),
    stats: () => statsOf(socket),
  };
}

/** Connects and sends: the clock starts before this call. */
export function send(way: Way, host: string, port: number, source: Iterable<Uint8Array>): Sending {
  if (way.peer === "udx-native" || way.peer === "quinn") {
    const done = way.peer === "quinn" ? sendQuinn(host, port, source) : sendUdx(host, port, source);
    return { done, closed: done, stats: () => null };
  }
  const socket = way.peer === "node:net" ? net.connect(port, host) : connect({ ...way.options, port, host });
  socket.resume();
  const closed = new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => resolve());
  });
  // Where nobody waits for it, `done` says the same.
  closed.catch(() => {});
  return {
    done: pipeline(Readable.from(source, { objectMode: false }), socket),
    closed,
    stats: () => statsOf(socket),
  };
}

function statsOf(socket: object | null): Stats {
  if (socket === null || socket instanceof net.Socket) return null;
  const { stats, edition, cwnd } = socket as ConfundoSocket;
  return { ...stats, edition, cwnd };
}

async function* afterwards(open: () => Promise<AsyncIterable<Uint8Array>>): AsyncIterable<Uint8Array> {
  yield* await open();
}

// ---- udx-native: streams with numbers that both ends know -----------------------------------------------------------

interface UdxStream extends Duplex {
  connect(socket: UdxSocket, remoteId: number, port: number, host: string): void;
}
interface UdxSocket {
  bind(port: number, host: string): void;
  address(): { port: number };
}
interface Udx {
  createSocket(): UdxSocket;
  createStream(id: number, options?: object): UdxStream;
}
const LISTENER_ID = 1;
const SENDER_ID = 2;

async function loadUdx(): Promise<Udx> {
  const name = "udx-native";
  const { default: UDX } = (await import(name)) as { default: new () => Udx };
  return new UDX();
}

/** Serves one client. Returns the port. */
export async function serveUdx(host: string, onConnection: (stream: Duplex) => void): Promise<number> {
  const udx = await loadUdx();
  const socket = udx.createSocket();
  socket.bind(0, host);
  // Called for the first packet from an unknown peer.
  const firewall = (from: UdxSocket, port: number, address: string): boolean => {
    stream.connect(from, SENDER_ID, port, address);
    return false;
  };
  const stream = udx.createStream(LISTENER_ID, { firewall });
  onConnection(stream);
  return socket.address().port;
}

export async function dialUdx(host: string, port: number): Promise<Duplex> {
  const udx = await loadUdx();
  const socket = udx.createSocket();
  socket.bind(0, "0.0.0.0");
  const stream = udx.createStream(SENDER_ID);
  stream.connect(socket, LISTENER_ID, port, host);
  return stream;
}

async function listenUdx(host: string): Promise<Listener> {
  let incoming: Duplex | null = null;
  const port = await serveUdx(host, (stream) => {
    incoming = stream;
    stream.on("end", () => stream.end());
  });
  return { port, incoming: incoming as unknown as Duplex, stats: () => null };
}

async function sendUdx(host: string, port: number, source: Iterable<Uint8Array>): Promise<void> {
  const stream = await dialUdx(host, port);
  stream.resume();
  for (const chunk of source) {
    if (!stream.write(chunk)) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "finish");
}

// ---- quinn, the QUIC of Rust: libp2p's binding to it, without libp2p ------------------------------------------------

interface QuinnStream {
  read(bytes: number): Promise<Uint8Array | null>;
  write(bytes: Uint8Array): Promise<void>;
  finishWrite(): Promise<void>;
}
interface QuinnConnection {
  inboundStream(): Promise<QuinnStream>;
  outboundStream(): Promise<QuinnStream>;
}
interface Quinn {
  QuinnConfig: new (options: object) => object;
  Server: new (
    config: object,
    host: string,
    port: number,
  ) => { port(): number; inboundConnection(): Promise<QuinnConnection> };
  Client: new (
    config: object,
    family: number,
  ) => { outboundConnection(host: string, port: number): Promise<QuinnConnection> };
}

async function loadQuinn(): Promise<{ quinn: Quinn; config: object }> {
  const entry = import.meta.resolve("@chainsafe/libp2p-quic");
  const { defaultOptions } = (await import(entry)) as { defaultOptions: object };
  const quinn = (await import(new URL("./napi.js", entry).href)) as Quinn;
  return { quinn, config: new quinn.QuinnConfig({ ...defaultOptions, privateKeyProto: libp2pKey() }) };
}

/** A new Ed25519 key in libp2p's protobuf: type 1, then 64 bytes, the private half and the public one. */
function libp2pKey(): Uint8Array {
  const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
  const { d, x } = createPrivateKey(pem).export({ format: "jwk" });
  return Buffer.concat([
    Buffer.from([0x08, 0x01, 0x12, 64]),
    Buffer.from(d as string, "base64url"),
    Buffer.from(x as string, "base64url"),
  ]);
}

async function listenQuinn(host: string): Promise<Listener> {
  const { quinn, config } = await loadQuinn();
  const server = new quinn.Server(config, host, 0);
  const stream = server.inboundConnection().then((connection) => {
    held.push(server, connection);
    return connection.inboundStream();
  });
  async function* read(): AsyncIterable<Uint8Array> {
    const from = await stream;
    for (;;) {
      const chunk = await from.read(READ_BYTES);
      if (chunk == null) return;
      yield chunk;
    }
  }
  return { port: server.port(), incoming: read(), stats: () => null };
}

/** Connections end when nothing refers to them any more. */
const held: unknown[] = [];

async function sendQuinn(host: string, port: number, source: Iterable<Uint8Array>): Promise<void> {
  const { quinn, config } = await loadQuinn();
  const client = new quinn.Client(config, 0);
  const connection = await client.outboundConnection(host, port);
  held.push(client, connection);
  const stream = await connection.outboundStream();
  for (const chunk of source) await stream.write(chunk);
  await stream.finishWrite();
}

/** Loads what a way needs, so that this is not measured. */
export async function prepare(way: Way): Promise<void> {
  if (way.peer === "udx-native") await loadUdx();
  if (way.peer === "quinn") await loadQuinn();
}
