import { EventEmitter, once } from "node:events";
import net from "node:net";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import type { Listener as Listens } from "../../../../src/server/http/hub.js";
import type { HttpServing } from "../../../../src/server/http/index.js";
import { startHttp } from "../../../../src/server/http/listen.js";
import { type Source, Subscriber } from "../../../../src/server/http/subscriber.js";
import type { EventSocket } from "../../../../src/server/http/upgrade.js";
import { LimitCounters, MAX_MISSED_PINGS } from "../../../../src/server/limits.js";
import { ApiRig } from "../../../support/api-rig.js";
import { eventually } from "../../../support/patience.js";

let rig: ApiRig;
let limits: LimitCounters;
let serving: HttpServing;
/** How far the clock of the server is ahead of the real one. */
let aheadMs = 0;
const listeners: Listener[] = [];

beforeEach(async () => {
  limits = new LimitCounters();
  rig = await ApiRig.start({ limits });
  aheadMs = 0;
  serving = await startHttp({ ...rig.options, port: 0, now: () => Date.now() + aheadMs });
});
afterEach(async () => {
  for (const { socket } of listeners.splice(0)) socket.terminate();
  await serving.close();
  await rig[Symbol.asyncDispose]();
});

interface Told {
  readonly id?: number;
  readonly type: string;
  readonly folder?: string | null;
  readonly data: Record<string, unknown>;
}

/** One who listens, and what it has heard. */
class Listener {
  readonly heard: Told[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<[number, string]>;

  constructor(query = "", token = rig.adminToken, headers: Record<string, string> = {}) {
    const { port } = serving.address;
    const authorization = token === "" ? {} : { authorization: `Bearer ${token}` };
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/api/v1/events${query}`, {
      headers: { ...authorization, ...headers },
    });
    this.socket.on("message", (data) => this.heard.push(JSON.parse(String(data)) as Told));
    this.closed = new Promise((resolve) => this.socket.on("close", (code, reason) => resolve([code, String(reason)])));
    // Told to who waits for the answer to a refused upgrade.
    this.socket.on("error", () => {});
    listeners.push(this);
  }

  /** The numbers of the events it has. */
  get ids(): number[] {
    return this.heard.flatMap(({ id }) => id ?? []);
  }

  async hears(type: string, count = 1): Promise<Told[]> {
    await eventually(() => expect(this.heard.filter((one) => one.type === type).length).toBeGreaterThanOrEqual(count));
    return this.heard.filter((one) => one.type === type);
  }
}

function happen(count: number, folder: string | null = "photos", type = "file.stored"): Promise<void> {
  return rig.database.events.append(
    Array.from({ length: count }, (_, i) => ({ type, folder, data: { path: `f${i}` } })),
  );
}

/** The answer to an upgrade that is refused. */
async function refused(query: string, token: string, headers: Record<string, string> = {}): Promise<[number, string]> {
  const { socket } = new Listener(query, token, headers);
  const [, response] = await once(socket, "unexpected-response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return [response.statusCode, (JSON.parse(Buffer.concat(chunks).toString()) as { code: string }).code];
}

describe("who listens", () => {
  test("hears hello, how things are, and then what happens, in order", async () => {
    await happen(3);
    const listener = new Listener();
    const [hello] = await listener.hears("hello");
    expect(hello?.data).toEqual({ last: 3 });
    expect((await listener.hears("sessions"))[0]?.data).toEqual({ sessions: [] });
    await happen(1);
    await happen(200);
    await listener.hears("file.stored", 201);
    expect(listener.ids).toEqual(Array.from({ length: 201 }, (_, i) => i + 4));
    expect(listener.heard.at(-1)).toMatchObject({ folder: "photos", data: { path: "f199" } });
  });

  test("goes on after the last event it has, however long ago, and misses and repeats none", async () => {
    await happen(1200);
    const listener = new Listener("?after=5&live=false");
    // While it reads what was, more happens.
    for (let i = 0; i < 20; i++) await happen(10);
    await listener.hears("file.stored", 1395);
    await happen(1);
    await listener.hears("file.stored", 1396);
    expect(listener.ids).toEqual(Array.from({ length: 1396 }, (_, i) => i + 6));
    expect(listener.heard.some(({ type }) => type === "sessions")).toBe(false);
  });

  test("is told when what it wants is not kept any more, or never was", async () => {
    await happen(2);
    const listener = new Listener("?after=999");
    expect((await listener.hears("gone"))[0]?.data).toEqual({ after: 999 });
    await happen(1);
    await listener.hears("file.stored");
    expect(listener.ids).toEqual([3]);
    // One that has none of them in memory.
    await serving.close();
    serving = await startHttp({ ...rig.options, port: 0 });
    const event = { id: 3, at: 1, type: "file.stored", folder: "photos", data: {} };
    vi.spyOn(rig.database.events, "since").mockResolvedValue({ events: [event], gone: true });
    const late = new Listener("?after=1");
    expect((await late.hears("gone"))[0]?.data).toEqual({ after: 1 });
    await late.hears("file.stored");
    expect(late.ids).toEqual([3]);
  });

  test("hears of the folders that it may see, and sees others as soon as it may", async () => {
    const token = await rig.user("ann", "user", { photos: "read" });
    const ann = new Listener("", token);
    await ann.hears("hello");
    await happen(1, "secret");
    await happen(1, null, "device.paired");
    await happen(1, "photos");
    await ann.hears("file.stored");
    expect(ann.ids).toEqual([3]);
    await rig.auth.grant({ kind: "local" }, { subject: "user", of: "ann", folder: "secret", access: "read" });
    await eventually(async () => {
      await happen(1, "secret", "later");
      expect(ann.heard.some(({ type }) => type === "later")).toBe(true);
    });
    rig.mirrors.live = ["photos", "other"].map((folder) => ({
      id: folder,
      folder,
      device: null,
      label: "",
      peer: "",
      openedAt: 1,
      state: "settled",
      heldDeletes: null,
      connection: null,
    }));
    await eventually(() => expect(ann.heard.at(-2)?.data).toMatchObject({ sessions: [{ id: "photos" }] }));
    expect(JSON.stringify(ann.heard)).not.toContain("other");
  });

  test("is closed when its token is revoked or expires", async () => {
    const token = await rig.user("ann");
    const ann = new Listener("", token);
    const brief = new Listener("", await rig.token("ann", [{ folder: null, access: "read" }], 3_600_000));
    const admin = new Listener();
    await Promise.all([ann.hears("hello"), brief.hears("hello"), admin.hears("hello")]);
    const record = await rig.auth.authenticate(token, { address: "127.0.0.1" });
    await rig.auth.revokeToken({ kind: "local" }, record.token.id);
    expect(await ann.closed).toEqual([4401, "the token was revoked or has expired"]);
    expect(brief.socket.readyState).toBe(WebSocket.OPEN);
    aheadMs = 3_600_000;
    expect(await brief.closed).toEqual([4401, "the token was revoked or has expired"]);
    expect(admin.socket.readyState).toBe(WebSocket.OPEN);
  });

  test("is told where to go on when the server stops", async () => {
    const listener = new Listener();
    await listener.hears("hello");
    await serving.close();
    expect(await listener.closed).toEqual([1001, "the server is closing; come back with after="]);
  });
});

test("who reads nothing holds no more than a little, and goes on without loss when it reads", async () => {
  const slow = new Listener();
  const quick = new Listener();
  await Promise.all([slow.hears("hello"), quick.hears("hello")]);
  slow.socket.pause();
  const big = Array.from({ length: 200 }, () => ({
    type: "file.stored",
    folder: "photos",
    data: { path: "x".repeat(4000) },
  }));
  for (let i = 0; i < 25; i++) {
    await rig.database.events.append(big);
    await quick.hears("file.stored", (i + 1) * big.length);
  }
  const heard = slow.ids.length;
  expect(heard).toBeLessThan(5000);
  slow.socket.resume();
  await slow.hears("file.stored", 5000);
  expect(slow.ids).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1));
  expect(quick.ids).toEqual(slow.ids);
});

describe("an upgrade is refused", () => {
  test.each([
    ["without a token", "", "", {}, [401, "ERR_UNAUTHENTICATED"]],
    ["with one that is none", "", "x".repeat(43), {}, [401, "ERR_UNAUTHENTICATED"]],
    ["to another site's page", "", undefined, { origin: "https://evil.example" }, [403, "ERR_CROSS_SITE"]],
    ["to who calls us by another name", "", undefined, { host: "evil.example" }, [421, "ERR_HOST"]],
    ["with a number that is none", "?after=-1", undefined, {}, [400, "ERR_REQUEST"]],
  ])("%s", async (_, query, token, headers, expected) => {
    expect(await refused(query, token ?? rig.adminToken, headers as Record<string, string>)).toEqual(expected);
  });

  test.each(["h2c", "websocket, h2c", "TLS/1.0"])(
    "to the protocol %s, and the connection is not left open",
    async (protocol) => {
      const socket = net.connect(serving.address.port, "127.0.0.1");
      socket.write(
        `GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${rig.adminToken}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
      );
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1\.1 426 Upgrade Required\r\n/);
    },
  );

  test("beyond a bound", async () => {
    await serving.close();
    serving = await startHttp({ ...rig.options, port: 0, mostSubscribers: 2 });
    const two = [new Listener(), new Listener()];
    await Promise.all(two.map((one) => one.hears("hello")));
    expect(await refused("", rig.adminToken)).toEqual([503, "ERR_TOO_MANY"]);
  });
});

test("a token that was revoked ends its listeners, also where its address has used its attempts up", async () => {
  const token = await rig.token("admin", [{ folder: null, access: "read" }]);
  const listener = new Listener("", token);
  await listener.hears("hello");
  for (let i = 0; i < 30; i++) await refused("", "bad");
  expect(await refused("", "bad")).toEqual([429, "ERR_RATE_LIMITED"]);
  await rig.auth.revokeToken({ kind: "local" }, "test");
  expect(await listener.closed).toEqual([4401, "the token was revoked or has expired"]);
});

test("one user listens so often, and an administrator still can", async () => {
  const ann = await rig.user("ann", "user", { photos: "read" });
  const many = Array.from({ length: 64 }, () => new Listener("", ann));
  await Promise.all(many.map((one) => one.hears("hello")));
  expect(await refused("", ann)).toEqual([503, "ERR_TOO_MANY"]);
  await new Listener().hears("hello");
  many[0]?.socket.close();
  await many[0]?.closed;
  await new Listener("", ann).hears("hello");
});

test("what a listener sends does no harm", async () => {
  const honest = new Listener();
  await honest.hears("hello");
  const loud = new Listener();
  await loud.hears("hello");
  loud.socket.send("x".repeat(100_000));
  expect((await loud.closed)[0]).toBe(1009);
  expect(limits.of("webSocketMessageBytes")).toBe(1);
  const odd = new Listener();
  await odd.hears("hello");
  // biome-ignore lint/suspicious/noExplicitAny: the stream below, to send what is no frame
  ((odd.socket as any)._socket as net.Socket).write(Buffer.alloc(64, 0xff));
  expect((await odd.closed)[0]).toBeGreaterThanOrEqual(1002);
  await happen(1);
  await honest.hears("file.stored");
});

test("a listener that answers no pings is ended, and counted", () => {
  let terminated = 0;
  const webSocket = Object.assign(new EventEmitter(), { ping: () => {}, terminate: () => terminated++ });
  const socket = { webSocket, stream: new PassThrough() } as unknown as EventSocket;
  const silent = () => limits.add("missedPings");
  const source = { silent, leave: () => {} } as unknown as Source;
  const subscriber = new Subscriber(socket, {} as Listens, source);
  for (let i = 0; i < MAX_MISSED_PINGS; i++) subscriber.beat();
  webSocket.emit("pong");
  for (let i = 0; i < MAX_MISSED_PINGS; i++) subscriber.beat();
  expect([terminated, limits.of("missedPings")]).toEqual([0, 0]);
  subscriber.beat();
  expect([terminated, limits.of("missedPings")]).toEqual([1, 1]);
});
