/**
 * The HTTP interface beside bare hono and bare node:http, each in a process of its own, asked by this one: requests a second
 * over 32 connections, and MiB/s of one large file. CPU seconds are the server's.
 *
 *   npm run build && node bench/http.ts [MiB] [seconds] [rounds]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { getRequestListener } from "@hono/node-server";
import { serve } from "confundo/server";
import { Hono } from "hono";
import { describeMachine, median } from "./support/report.js";
import { MEBIBYTE } from "./support/source.js";

const CONNECTIONS = 32;
const FOLDER = {
  name: "photos",
  state: "idle",
  access: "write",
  files: 0,
  bytes: 0,
  versionBytes: 0,
  quotaBytes: null,
};
const SERVERS = { "node:http": bareNode, hono: bareHono, confundo } as const;
type Name = keyof typeof SERVERS;

interface Started {
  readonly port: number;
  readonly token: string;
}

/** What is asked of whom. */
const REQUESTS: readonly { readonly title: string; readonly of: readonly [Name, string][] }[] = [
  {
    title: "a small answer",
    of: [
      ["node:http", "/healthz"],
      ["hono", "/healthz"],
      ["confundo", "/healthz"],
    ],
  },
  {
    title: "a folder (confundo: token, rights and folder from the database)",
    of: [
      ["node:http", "/api/v1/folders/photos"],
      ["hono", "/api/v1/folders/photos"],
      ["confundo", "/api/v1/folders/photos"],
    ],
  },
];
const FILE = "/api/v1/folders/photos/files/large.bin";

async function compare(mebibytes: number, seconds: number, rounds: number): Promise<void> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "confundo-bench-"));
  const file = path.join(dir, "large.bin");
  fs.writeFileSync(file, Buffer.alloc(mebibytes * MEBIBYTE, "0123456789abcdef"));
  console.log(`${mebibytes} MiB, ${seconds} s, ${rounds} rounds, ${describeMachine()}\n`);
  const servers = new Map<Name, Server>();
  try {
    for (const name of Object.keys(SERVERS) as Name[]) servers.set(name, await Server.start(name, dir));
    for (const { title, of } of REQUESTS) {
      const figures = await inTurns(rounds, of, (name, where) => requests(serverOf(servers, name), where, seconds));
      print(title, "requests/s", figures);
    }
    const ways = [...servers.keys()].map((name) => [name, FILE] as const);
    print(
      "a large file",
      "MiB/s",
      await inTurns(rounds, ways, (name, where) => download(serverOf(servers, name), where)),
    );
  } finally {
    for (const server of servers.values()) await server.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
  console.log(`afterwards: ${describeMachine()}`);
}

interface Figure {
  /** Requests or MiB a second. */
  readonly rate: number;
  /** Of the server, for 10,000 requests or a GiB. */
  readonly cpuSeconds: number;
}

async function inTurns(
  rounds: number,
  ways: readonly (readonly [Name, string])[],
  measure: (name: Name, where: string) => Promise<Figure>,
): Promise<Map<Name, Figure[]>> {
  const figures = new Map<Name, Figure[]>(ways.map(([name]) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    const turned = [...ways.slice(round % ways.length), ...ways.slice(0, round % ways.length)];
    for (const [name, where] of turned) {
      const figure = await measure(name, where);
      // The first round warms up.
      if (round > 0) figures.get(name)?.push(figure);
    }
  }
  return figures;
}

function print(title: string, unit: string, figures: ReadonlyMap<Name, readonly Figure[]>): void {
  const best = median(figures.get("node:http")?.map(({ rate }) => rate) ?? []);
  console.log(title);
  for (const [name, all] of figures) {
    const rate = median(all.map((one) => one.rate));
    const cpu = median(all.map(({ cpuSeconds }) => cpuSeconds));
    const per = unit === "MiB/s" ? "GiB" : "10,000";
    console.log(
      `  ${name.padEnd(10)} ${rate.toFixed(0).padStart(7)} ${unit}  ${(rate / best).toFixed(2)} of node:http  ${cpu.toFixed(2)} CPU s per ${per}`,
    );
  }
  console.log();
}

/** As many as are answered, each connection asking anew as soon as it has its answer. */
async function requests(server: Server, where: string, seconds: number): Promise<Figure> {
  const request = Buffer.from(
    `GET ${where} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nAuthorization: Bearer ${server.token}\r\n\r\n`,
  );
  const cpuBefore = await server.cpuSeconds();
  const began = performance.now();
  const until = began + seconds * 1000;
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => askUntil(server.port, request, until)));
  const count = counts.reduce((all, one) => all + one, 0);
  const took = (performance.now() - began) / 1000;
  return { rate: count / took, cpuSeconds: ((await server.cpuSeconds()) - cpuBefore) / (count / 10_000) };
}

async function askUntil(port: number, request: Buffer, until: number): Promise<number> {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  let count = 0;
  let pending = "";
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      pending += chunk.toString("latin1");
      const end = pending.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(pending)?.[1]);
      if (pending.length < end + 4 + length) return;
      if (!pending.startsWith("HTTP/1.1 200")) return reject(new Error(pending.slice(0, 300)));
      pending = "";
      count++;
      if (performance.now() < until) return void socket.write(request);
      socket.destroy();
      resolve(count);
    });
    socket.write(request);
  });
}

async function download(server: Server, where: string): Promise<Figure> {
  const cpuBefore = await server.cpuSeconds();
  const began = performance.now();
  const headers = { authorization: `Bearer ${server.token}` };
  const request = http.get({ port: server.port, host: "127.0.0.1", path: where, headers, agent: false });
  const [answer] = (await once(request, "response")) as [http.IncomingMessage];
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}`);
  let bytes = 0;
  for await (const chunk of answer) bytes += (chunk as Buffer).length;
  const mebibytes = bytes / MEBIBYTE;
  const rate = mebibytes / ((performance.now() - began) / 1000);
  return { rate, cpuSeconds: ((await server.cpuSeconds()) - cpuBefore) / (mebibytes / 1024) };
}

function serverOf(servers: ReadonlyMap<Name, Server>, name: Name): Server {
  return servers.get(name) as Server;
}

/** One in a process of its own. */
class Server {
  readonly port: number;
  readonly token: string;
  readonly #child: ReturnType<typeof fork>;

  private constructor(child: ReturnType<typeof fork>, { port, token }: Started) {
    this.#child = child;
    this.port = port;
    this.token = token;
  }

  static async start(name: Name, dir: string): Promise<Server> {
    const child = fork(fileURLToPath(import.meta.url), ["server", name, dir]);
    const [started] = (await once(child, "message")) as [Started];
    return new Server(child, started);
  }

  async cpuSeconds(): Promise<number> {
    this.#child.send("cpu");
    const [seconds] = (await once(this.#child, "message")) as [number];
    return seconds;
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.kill();
    await exited;
  }
}

async function beServer(name: Name, dir: string): Promise<void> {
  const started = await SERVERS[name](dir);
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1e6);
  });
  process.send?.(started);
}

async function bareNode(dir: string): Promise<Started> {
  const server = http.createServer((request, response) => {
    if (request.url === FILE) {
      const file = path.join(dir, "large.bin");
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": fs.statSync(file).size });
      void pipeline(fs.createReadStream(file, { highWaterMark: 256 * 1024 }), response).catch(() => {});
      return;
    }
    const body = JSON.stringify(request.url === "/healthz" ? { status: "ok" } : FOLDER);
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  });
  return { port: await listen(server), token: "none" };
}

async function bareHono(dir: string): Promise<Started> {
  const app = new Hono();
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/api/v1/folders/:folder", (c) => c.json(FOLDER));
  app.get(FILE, (c) => {
    const file = path.join(dir, "large.bin");
    const stream = Readable.toWeb(fs.createReadStream(file, { highWaterMark: 256 * 1024 })) as ReadableStream;
    return c.body(stream, 200, { "content-length": String(fs.statSync(file).size) });
  });
  return { port: await listen(http.createServer(getRequestListener(app.fetch))), token: "none" };
}

async function confundo(dir: string): Promise<Started> {
  const { auth, database, http: web } = await serve({ dir: path.join(dir, "home"), port: 0, http: { port: 0 } });
  if (web === null) throw new Error("no HTTP");
  await database.folders.ensure("photos");
  const scopes = [{ folder: null, access: "write" as const }];
  const { token } = await auth.createToken(
    { kind: "local" },
    { user: "admin", name: "bench", scopes, expiresInMs: null },
  );
  const body = fs.createReadStream(path.join(dir, "large.bin"));
  const request = http.request(`${web.url}${FILE}`, { method: "PUT", headers: { authorization: `Bearer ${token}` } });
  await pipeline(body, request);
  const [answer] = (await once(request, "response")) as [http.IncomingMessage];
  if (answer.statusCode !== 201) throw new Error(`the file was answered ${answer.statusCode}`);
  answer.resume();
  return { port: web.address.port, token };
}

async function listen(server: http.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as net.AddressInfo).port;
}

const [, , first = "256", second = "3", third = "5"] = process.argv;
if (first === "server") await beServer(second as Name, third);
else await compare(Number(first), Number(second), Number(third));
