/** A server with its HTTP interface as a program, and who asks it. */
import { once } from "node:events";
import { WebSocket } from "ws";
import type { Program, Rig } from "./program.js";

export interface HttpServer {
  readonly server: Program;
  /** For mirrors. */
  readonly port: string;
  readonly url: string;
  readonly httpPort: number;
  readonly password: string;
  readonly token: string;
  /** Asks as the administrator. */
  ask(path: string, init?: RequestInit & { token?: string | null }): Promise<Response>;
  /** Listens to events; resolves when it is welcome. */
  listen(query?: string): Promise<Listening>;
}

export interface Told {
  readonly id?: number;
  readonly type: string;
  readonly folder?: string | null;
  readonly data: Record<string, unknown>;
}

export interface Listening {
  readonly socket: WebSocket;
  readonly heard: Told[];
  /** Resolves when something that was or will be heard fits. */
  hears(fits: (told: Told) => boolean): Promise<Told>;
}

export async function serveHttp(rig: Rig, dir: string, ...more: string[]): Promise<HttpServer> {
  const { server, port } = await rig.serve(dir, "0", "--http", "127.0.0.1:0", ...more);
  const [, url = ""] = await server.printed(/dashboard: (\S+)\/\n/);
  const [, password = ""] = await server.printed(/password: (\S+)\n/);
  const login = await fetch(`${url}/api/v1/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "admin", password }),
  });
  const { token } = (await login.json()) as { token: string };
  return {
    server,
    port,
    url,
    httpPort: Number(new URL(url).port),
    password,
    token,
    ask: (path, { token: other = token, ...init } = {}) => {
      const authorization = other === null ? {} : { authorization: `Bearer ${other}` };
      return fetch(`${url}${path}`, { ...init, headers: { ...authorization, ...init.headers } });
    },
    listen: (query = "") => listen(`${url.replace("http", "ws")}/api/v1/events${query}`, token),
  };
}

async function listen(address: string, token: string): Promise<Listening> {
  const socket = new WebSocket(address, { headers: { authorization: `Bearer ${token}` } });
  const heard: Told[] = [];
  const waiting = new Set<(told: Told) => void>();
  socket.on("message", (data) => {
    const told = JSON.parse(String(data)) as Told;
    heard.push(told);
    for (const wakes of [...waiting]) wakes(told);
  });
  await once(socket, "open");
  const hears = (fits: (told: Told) => boolean): Promise<Told> => {
    const already = heard.find(fits);
    if (already !== undefined) return Promise.resolve(already);
    return new Promise((resolve) => {
      const wakes = (told: Told): void => {
        if (!fits(told)) return;
        waiting.delete(wakes);
        resolve(told);
      };
      waiting.add(wakes);
    });
  };
  await hears(({ type }) => type === "hello");
  return { socket, heard, hears };
}
