/** From an HTTP request to a WebSocket: the application decides, as about any request. */
import type { IncomingMessage, Server } from "node:http";
import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { type LimitCounters, MAX_WEB_SOCKET_MESSAGE_BYTES } from "../limits.js";
import type { Api } from "./router.js";

/** An open WebSocket, and the stream below it, for frames that were made before. */
export interface EventSocket {
  readonly webSocket: WebSocket;
  readonly stream: Duplex;
}

/** Called by a route that lets the client in; `use` is given the socket when it is open. */
export type WebSocketAcceptor = (use: (socket: EventSocket) => void) => void;

/** Serves upgrades on `server`. What asks for another protocol, or is refused by the application, gets an HTTP answer. */
export function serveUpgrades(server: Server, app: Api, limits?: LimitCounters): WebSocketServer {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_WEB_SOCKET_MESSAGE_BYTES,
    perMessageDeflate: false,
    clientTracking: false,
  });
  sockets.on("connection", (webSocket: WebSocket) => {
    webSocket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") limits?.add("webSocketMessageBytes");
    });
  });
  server.on("upgrade", (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    stream.on("error", () => stream.destroy());
    void upgrade(app, sockets, request, stream, head).catch(() => stream.destroy());
  });
  return sockets;
}

async function upgrade(
  app: Api,
  sockets: WebSocketServer,
  incoming: IncomingMessage,
  stream: Duplex,
  head: Buffer,
): Promise<void> {
  const wanted = incoming.headers.upgrade?.toLowerCase() === "websocket" && incoming.method === "GET";
  let use: ((socket: EventSocket) => void) | undefined;
  const accept: WebSocketAcceptor = (given) => {
    use = given;
  };
  const response = await app.fetch(requestOf(incoming), wanted ? { incoming, accept } : { incoming });
  if (use === undefined) return refuse(stream, response);
  const taken = use;
  sockets.handleUpgrade(incoming, stream, head, (webSocket) => {
    sockets.emit("connection", webSocket, incoming);
    taken({ webSocket, stream });
  });
}

function requestOf(incoming: IncomingMessage): Request {
  const headers = new Headers();
  for (let i = 0; i < incoming.rawHeaders.length; i += 2) {
    headers.append(incoming.rawHeaders[i] as string, incoming.rawHeaders[i + 1] as string);
  }
  const secure = "encrypted" in incoming.socket;
  return new Request(
    new URL(incoming.url ?? "/", `${secure ? "https" : "http"}://${incoming.headers.host ?? "localhost"}`),
    {
      headers,
    },
  );
}

async function refuse(stream: Duplex, response: Response): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  const { status } = response;
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`, "Connection: close"];
  for (const [name, value] of response.headers) if (name !== "content-length") lines.push(`${name}: ${value}`);
  lines.push(`Content-Length: ${body.length}`, "", "");
  stream.end(Buffer.concat([Buffer.from(lines.join("\r\n"), "latin1"), body]));
  stream.once("finish", () => stream.destroy());
}
