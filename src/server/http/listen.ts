/** The application on a port: HTTP on a loopback address, HTTPS elsewhere. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, isIPv6, type Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { reachableAddresses } from "../addresses.js";
import {
  type LimitCounters,
  MAX_BODY_MS,
  MAX_HEADER_BYTES,
  MAX_HEADERS_MS,
  MAX_IDLE_MS,
  SHARES,
  type ShareLimits,
} from "../limits.js";
import { type ApiOptions, createApi } from "./api.js";
import { TrustedProxies } from "./client-address.js";
import { Connections } from "./connections.js";
import { isFilePath } from "./guard.js";
import { EventHub } from "./hub.js";
import { logError } from "./log.js";
import { serveUpgrades } from "./upgrade.js";

export interface HttpOptions extends Omit<ApiOptions, "hub" | "secure" | "hosts" | "connections"> {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 5080; 0 takes a free one. */
  readonly port?: number;
  /** Key and certificate in PEM: HTTPS. Without them, plain HTTP: for loopback addresses. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** At most so many WebSockets. Default 2048. */
  readonly mostSubscribers?: number;
  /** @internal Milliseconds: until all headers are there, and all of a body that is no file. Default 10,000 and 30,000. */
  readonly headersMs?: number;
  readonly bodyMs?: number;
  /** @internal Milliseconds without traffic. Default 60,000. */
  readonly idleMs?: number;
  /** @internal Connections, and the shares of them. */
  readonly connectionShares?: ShareLimits;
}

export interface HttpServing {
  readonly address: AddressInfo;
  /** `http://HOST:PORT` or `https://…`. */
  readonly url: string;
  /** All of them, where it listens on all addresses of the machine. */
  readonly urls: readonly string[];
  /** Ends all, giving what is on its way two seconds. */
  close(): Promise<void>;
}

/** Time-outs and bounds of connections; files have their own pace. */
const LIMITS = {
  /** Files may take hours, at a pace: see {@link hurry} for the rest. */
  requestTimeout: 0,
  keepAliveTimeout: 10_000,
  maxHeaderSize: MAX_HEADER_BYTES,
} as const;
/** Node refuses connections beyond this by itself, in a burst that comes before we see the first. */
const MOST_UNSEEN = 1024;
const CLOSING_MS = 2000;

/** Rejects with what the system says (`EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`). */
export async function startHttp(options: HttpOptions): Promise<HttpServing> {
  const { host = "127.0.0.1", port = 5080, tls } = options;
  const hub = new EventHub(options);
  const secure = tls !== undefined;
  const shares = options.connectionShares ?? SHARES.httpConnections;
  const connections = new Connections(new TrustedProxies(options.trustProxy), options.limits, shares);
  const { app } = createApi({ ...options, hub, connections, secure, ...(secure ? {} : { hosts: namesOf(host) }) });
  const { headersMs = MAX_HEADERS_MS, bodyMs = MAX_BODY_MS, idleMs = MAX_IDLE_MS } = options;
  const answer = getRequestListener(app.fetch);
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    hurry(incoming, bodyMs, options.limits);
    void answer(incoming, outgoing);
  };
  const limits = { ...LIMITS, headersTimeout: headersMs, connectionsCheckingInterval: headersMs / 5 };
  const server: Server =
    tls === undefined
      ? createServer(limits, listener)
      : createSecureServer({ ...limits, ...tls, minVersion: "TLSv1.2" }, listener);
  server.maxConnections = shares.total + MOST_UNSEEN;
  server.on("connection", (socket: Socket) => connections.add(socket));
  server.setTimeout(idleMs, (socket) => {
    options.limits?.add("idleMs");
    socket.destroy();
  });
  server.on("clientError", (error, socket) => refuse(error, socket, options.limits));
  serveUpgrades(server, app, options.limits);
  try {
    await listen(server, port, host);
  } catch (error) {
    hub.close();
    throw error;
  }
  server.on("error", (error) => logError(options.logger, error, "the HTTP port failed"));
  const address = server.address() as AddressInfo;
  const urls = reachableAddresses(address.address).map((each) => {
    return `${secure ? "https" : "http"}://${isIPv6(each) ? `[${each}]` : each}:${address.port}`;
  });
  return {
    address,
    url: urls[0] ?? "",
    urls,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      hub.close();
      server.closeIdleConnections();
      const hurry = setTimeout(() => server.closeAllConnections(), CLOSING_MS);
      await closed;
      clearTimeout(hurry);
    },
  };
}

/** Ends a connection whose request, if it is no file, is not here in time, whoever reads it or does not. */
function hurry(incoming: IncomingMessage, ms: number, limits?: LimitCounters): void {
  const { headers, method, url = "" } = incoming;
  const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
  if (!hasBody || (method === "PUT" && isFilePath(url))) return;
  const timer = setTimeout(() => {
    if (incoming.complete) return;
    limits?.add("bodyMs");
    incoming.socket.destroy();
  }, ms);
  incoming.once("close", () => clearTimeout(timer));
}

/** By which names a server on a loopback address is called. */
function namesOf(host: string): string[] {
  return [...new Set(["localhost", "127.0.0.1", "::1", host.toLowerCase()])];
}

/** What is no HTTP, is too large, or takes too long before there is a request to answer. */
function refuse(error: NodeJS.ErrnoException, socket: import("node:stream").Duplex, limits?: LimitCounters): void {
  if (error.code === "HPE_HEADER_OVERFLOW") limits?.add("headerBytes");
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") limits?.add("headersMs");
  const status =
    error.code === "HPE_HEADER_OVERFLOW"
      ? "431 Request Header Fields Too Large"
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "408 Request Timeout"
        : "400 Bad Request";
  if (error.code === "ECONNRESET" || !socket.writable) socket.destroy();
  else socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
