/**
 * Memory that strangers can make a server hold: each opens a connection and sends 4,095 segments of one byte, 4 KiB apart.
 *
 * The server is a process of its own. What is told is its resident memory and its buffers before, the most during the attack, and
 * what is left some time later; no garbage collection is asked for. `serve` is `confundo serve`, whose strangers do not show who they
 * are; `echo` is a server of the library, whose program reads.
 *
 *   npm run build && node bench/unread.ts [connections] [serve | echo] [seconds until the end]
 */
import { type ChildProcess, fork } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createServer, receiveBudget } from "confundo";
import { type Connection, DEFAULT_EDITION, Endpoint, editionNamed } from "confundo/protocol";
import { serve } from "confundo/server";

const SEGMENTS = 4095;
const STEP_BYTES = 4096;
const MEBIBYTE = 1024 * 1024;
/** So many datagrams leave together, then the server gets its turn. */
const BURST = 256;

interface Figures {
  readonly rss: number;
  readonly external: number;
  readonly usedBytes: number;
}

async function listen(kind: string): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "confundo-unread-"));
  process.once("disconnect", () => {
    rmSync(dir, { recursive: true, force: true });
    process.exit();
  });
  process.on("message", () => {
    const { rss, external } = process.memoryUsage();
    process.send?.({ rss, external, usedBytes: receiveBudget().usedBytes });
  });
  if (kind === "serve") {
    const serving = await serve({ dir: join(dir, "home"), port: 0, stateFolder: join(dir, "state") });
    process.send?.(serving.address.port);
    return;
  }
  const server = createServer((socket) => socket.on("error", () => {}).on("data", () => {}));
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as { port: number }).port));
}

async function attack(connections: number, kind: string, seconds: number): Promise<void> {
  const server = fork(fileURLToPath(import.meta.url), ["child", kind]);
  const [port] = (await once(server, "message")) as [number];
  // The first ones make what every server has sooner or later.
  const warmUp = new Stranger(port);
  await warmUp.connect();
  await sleep(2000);
  const before = await ask(server);
  const strangers: Stranger[] = [];
  let most = before;
  for (let i = 0; i < connections; i++) {
    const stranger = new Stranger(port);
    strangers.push(stranger);
    await stranger.connect();
    await stranger.scatter();
    if (i % 20 === 19 || i === connections - 1) most = greater(most, await ask(server));
  }
  most = greater(most, await ask(server));
  console.log(`${connections} connections to ${kind}`);
  tell("before", before, before);
  tell("most", most, before);
  for (const stranger of [...strangers, warmUp]) stranger.close();
  await sleep(1000 * seconds);
  tell(`${seconds} s later`, await ask(server), before);
  server.disconnect();
}

async function ask(server: ChildProcess): Promise<Figures> {
  server.send("figures");
  const [figures] = await once(server, "message");
  return figures;
}

function greater(one: Figures, other: Figures): Figures {
  return one.rss > other.rss ? one : other;
}

function tell(when: string, { rss, external, usedBytes }: Figures, before: Figures): void {
  const mebibytes = (bytes: number): string => (bytes / MEBIBYTE).toFixed(1);
  console.log(
    `${when}: resident ${mebibytes(rss)} MiB (+${mebibytes(rss - before.rss)}), buffers ${mebibytes(external)} MiB, ` +
      `unread ${mebibytes(usedBytes)} MiB`,
  );
}

/** A client up to the handshake's end, and from then on one that sends what it likes. */
class Stranger {
  readonly #udp: Socket = createSocket("udp4");
  readonly #port: number;
  readonly #endpoint: Endpoint;
  readonly #connection: Connection;
  readonly #out = new Uint8Array(65_535);
  /** A packet of the connection's, for its numbers. */
  #packet: Uint8Array | null = null;

  constructor(port: number) {
    this.#port = port;
    this.#endpoint = new Endpoint({
      edition: editionNamed(DEFAULT_EDITION),
      extended: { random: Math.random, required: true },
    });
    this.#connection = this.#endpoint.connect("server", port);
    this.#udp.on("message", (datagram) => {
      this.#endpoint.receive(datagram, "server", port, performance.now());
      this.#transmit();
    });
  }

  async connect(): Promise<void> {
    this.#connection.open(performance.now());
    this.#transmit();
    for (let tries = 0; this.#packet === null; tries++) {
      if (tries === 500) throw new Error("the server does not answer");
      await sleep(10);
      while (this.#endpoint.expire(performance.now()) !== null) this.#transmit();
    }
  }

  async scatter(): Promise<void> {
    const template = this.#packet as Uint8Array;
    const view = new DataView(template.buffer, template.byteOffset);
    const isn = view.getUint32(0);
    for (let i = 1; i <= SEGMENTS; i++) {
      const bytes = Buffer.alloc(19);
      bytes.writeUInt32BE((isn + i * STEP_BYTES) % 2 ** 32, 0);
      bytes.writeUInt32BE(view.getUint32(4), 4);
      bytes.writeUInt16BE(view.getUint16(8), 8);
      bytes.writeUInt16BE(0x8200, 10);
      bytes.writeUInt16BE(bytes.length, 12);
      this.#udp.send(bytes, this.#port, "127.0.0.1");
      if (i % BURST === 0) await sleep(1);
    }
  }

  close(): void {
    this.#udp.close();
  }

  #transmit(): void {
    const connection = this.#connection;
    for (let length = connection.transmit(this.#out, performance.now()); length > 0; ) {
      const bytes = this.#out.slice(0, length);
      if (connection.connected && (((bytes[10] as number) << 8) & 0x8000) !== 0) this.#packet ??= bytes;
      this.#udp.send(bytes, this.#port, "127.0.0.1");
      length = connection.transmit(this.#out, performance.now());
    }
    this.#endpoint.settle(connection);
  }
}

const [, , first = "40", second = "serve", third = "45"] = process.argv;
if (first === "child") await listen(second);
else await attack(Number(first), second, Number(third));
