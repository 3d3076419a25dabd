/** Two ends of one connection in memory, with what a test wants to do to it. */
import { type Duplex, duplexPair } from "node:stream";

export interface Pair {
  readonly client: Duplex;
  readonly server: Duplex;
  /** Both ends are gone at once, without a farewell, as when a cable is pulled and noticed. */
  cut(): void;
  /** Nothing arrives from now on, in either direction, and nobody is told. */
  silence(): void;
}

export interface PairOptions {
  /** Bytes that either side buffers before it asks the writer to wait. */
  readonly highWaterMark?: number;
  /** Called before each write of the client with the bytes it will have written in all. */
  readonly onClientBytes?: (bytes: number, pair: Pair) => void;
}

export function linkedPair(options: PairOptions = {}): Pair {
  const [client, server] = duplexPair({ highWaterMark: options.highWaterMark ?? 64 * 1024 });
  const cut = (): void => {
    client.destroy();
    server.destroy();
  };
  const silence = (): void => {
    for (const end of [client, server]) end._write = (_chunk, _encoding, callback) => callback(null);
  };
  const pair = { client, server, cut, silence };
  if (options.onClientBytes !== undefined) watchWrites(pair, options.onClientBytes);
  return pair;
}

function watchWrites(pair: Pair, onBytes: (bytes: number, pair: Pair) => void): void {
  const { client } = pair;
  const write = client._write.bind(client);
  let bytes = 0;
  client._write = (chunk: Buffer, encoding, callback) => {
    bytes += chunk.length;
    onBytes(bytes, pair);
    if (client.destroyed) callback(null);
    else write(chunk, encoding, callback);
  };
}
