import { once } from "node:events";
import type { Clock } from "../../src/stream/clock.js";
import {
  type ConfundoServer,
  type ConfundoSocket,
  type ConnectOptions,
  connect,
  createServer,
  type ServerOptions,
  type SocketOptions,
} from "../../src/stream/index.js";

/** Options with the internal clock of tests. */
export type WithClock<T> = T & { clock?: Clock };

export interface Listening {
  readonly server: ConfundoServer;
  readonly port: number;
}

/** A server that listens on a free port of 127.0.0.1. */
export async function listening(
  options: WithClock<ServerOptions> = {},
  onConnection?: (socket: ConfundoSocket) => void,
): Promise<Listening> {
  const server = createServer(options, onConnection);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, port: server.address()?.port ?? 0 };
}

/** The two ends of a connection. */
export interface Pair extends Listening, AsyncDisposable {
  readonly client: ConfundoSocket;
  readonly accepted: ConfundoSocket;
}

/** What sockets in general do, they do in both editions: for `describe.each`, a name and the options of both ends. */
export const BOTH_EDITIONS: readonly (readonly [string, { readonly extended: false | "required" }])[] = [
  ["classic", { extended: false }],
  ["extended", { extended: "required" }],
];

export interface PairOptions {
  /** Options of both ends. */
  readonly both?: WithClock<SocketOptions>;
  readonly client?: WithClock<Partial<ConnectOptions>>;
  readonly server?: WithClock<ServerOptions>;
}

/** A connected client and its server's socket. Disposing destroys both and closes the server. */
export async function connectedPair(options: PairOptions = {}): Promise<Pair> {
  const { server, port } = await listening({ ...options.both, ...options.server });
  const client = connect({ host: "127.0.0.1", port, ...options.both, ...options.client });
  const accepting = once(server, "connection");
  await once(client, "connect");
  const [accepted] = (await accepting) as [ConfundoSocket];
  return {
    server,
    port,
    client,
    accepted,
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      accepted.destroy();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** Everything that comes until the end. */
export async function readAll(readable: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readable) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** `length` bytes that differ from place to place, the same at every call. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
