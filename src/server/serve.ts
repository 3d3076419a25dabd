/** A mirror home on a Confundo port. */
import { type AddressInfo, type ConfundoServer, createServer, type ServerOptions } from "../stream/index.js";
import { MirrorHome, type MirrorHomeOptions } from "./home.js";

export interface ServeOptions extends MirrorHomeOptions {
  /** Default 5000; 0 takes a free one. */
  readonly port?: number;
  /** Default 127.0.0.1: until mirrors are authenticated, nobody else gets in unless told otherwise. */
  readonly host?: string;
  /** Passed on to the Confundo server (edition, limits). */
  readonly stream?: ServerOptions;
  /** Errors of the port after it has begun to listen. Default: a process warning. */
  readonly onError?: (error: Error) => void;
}

export interface Serving {
  readonly home: MirrorHome;
  readonly address: AddressInfo;
  /** Ends all sessions, telling the clients to come back later; resolves when nothing is being written any more. */
  close(): Promise<void>;
}

/**
 * Listens for mirrors. Rejects with what the stream layer reports (`EADDRINUSE`, …) or the system (`EACCES` for the
 * directory).
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const home = new MirrorHome(options);
  // Answers are small and awaited; and a client that has ended still gets them.
  const stream = { noDelay: true, allowHalfOpen: true, ...options.stream };
  const server = createServer(stream, (socket) => home.handle(socket, `${socket.remoteAddress}:${socket.remotePort}`));
  const address = await listen(server, options.port ?? 5000, options.host ?? "127.0.0.1");
  server.on("error", options.onError ?? ((error) => process.emitWarning(error)));
  return {
    home,
    address,
    close: async () => {
      const portClosed = new Promise<void>((resolve) => server.close(() => resolve()));
      await home.close();
      await portClosed;
    },
  };
}

function listen(server: ConfundoServer, port: number, host: string): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null) reject(new Error("the server closed while it began to listen"));
      else resolve(address);
    });
  });
}
