import { once } from "node:events";
import { type ConfundoServer, type ConfundoSocket, connect, createServer } from "confundo";

export const HOST = "127.0.0.1";

/** A server on any free port, and its port. */
export async function listen(onConnection: (socket: ConfundoSocket) => void): Promise<[ConfundoServer, number]> {
  const server = createServer(onConnection).listen(0, HOST);
  await once(server, "listening");
  return [server, server.address()?.port ?? 0];
}

/** An open connection. */
export async function dial(port: number): Promise<ConfundoSocket> {
  const socket = connect({ port, host: HOST });
  await once(socket, "connect");
  return socket;
}

/** Closes a server, which shows that each of its connections has ended. */
export async function close(server: ConfundoServer): Promise<void> {
  await new Promise((resolve) => server.close(resolve));
}
