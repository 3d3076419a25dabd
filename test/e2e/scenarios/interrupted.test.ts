/** Kills, cuts and floods: nothing is torn, nothing is lost, nothing is sent twice. */
import fs from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { LossyProxy } from "../../support/lossy-proxy.js";
import { Mirrored, type Shared, serve, tell } from "../../support/mirrored.js";
import { random, sha256, until } from "../../support/program.js";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Nothing but messages; the transport's probe for the longest datagram of the loopback interface is among it. */
const LITTLE = 128 * KIB;

/** How many files the home's database has of the mirror. */
function filesInTheBooks(m: Mirrored): number {
  const database = new DatabaseSync(path.join(m.shared.home, ".confundo", "database.sqlite"), { readOnly: true });
  try {
    const count = database.prepare("select count(*) as count from files where folder = ? and kind = 'file'");
    return Number(count.get(m.name)?.count);
  } finally {
    database.close();
  }
}

/** A way to the server that counts what passes to it, and can be cut, also by itself after so many bytes. */
async function proxied(m: Mirrored, mostBytes = Number.POSITIVE_INFINITY) {
  let bytes = 0;
  let allowed = mostBytes;
  const proxy = await LossyProxy.start({
    seed: 1,
    targetPort: Number(m.shared.port),
    filter: ({ length }, direction) => {
      if (bytes >= allowed) return false;
      if (direction === "toServer") bytes += length;
      return true;
    },
  });
  const address = `confundo://127.0.0.1:${proxy.port}/${m.name}`;
  return {
    address,
    get bytes() {
      return bytes;
    },
    cut: () => {
      proxy.silent = true;
    },
    heal: () => {
      allowed = Number.POSITIVE_INFINITY;
      proxy.silent = false;
    },
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}

/** Files with random content, so many of so many bytes. */
function files(folder: string, count: number, bytes: number): void {
  for (let i = 0; i < count; i++) {
    const directory = path.join(folder, `${Math.floor(i / 500)}`);
    if (i % 500 === 0) fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(path.join(directory, `${i}`), bytes > 16 ? random(bytes) : `${i}`);
  }
}

describe("bytes are counted:", () => {
  tell([
    [
      "a moved tree with a large file is a rename",
      async (m) => {
        fs.mkdirSync(m.at("d/e"), { recursive: true });
        fs.writeFileSync(m.at("d/large"), random(24 * MIB));
        files(m.at("d/e"), 1000, 100);
        await using way = await proxied(m);
        const program = m.rig.start(["mirror", m.folder, way.address, "--json"]);
        await m.equal();
        await program.printed(/"watching"/);
        const before = way.bytes;
        fs.renameSync(m.at("d"), m.at("moved"));
        await m.equal();
        expect(way.bytes - before).toBeLessThan(LITTLE);
      },
    ],
    [
      "a moved tree between two runs is a rename",
      async (m) => {
        fs.mkdirSync(m.at("d"), { recursive: true });
        fs.writeFileSync(m.at("d/large"), random(8 * MIB));
        files(m.at("d/e"), 200, 1000);
        await using way = await proxied(m);
        const run = () => m.rig.run(["mirror", m.folder, way.address, "--once"]);
        expect(await run()).toMatchObject({ code: 0, stderr: "" });
        fs.mkdirSync(m.at("new"));
        fs.renameSync(m.at("d"), m.at("new/place"));
        const before = way.bytes;
        expect(await run()).toMatchObject({ code: 0, stderr: "" });
        await m.equal();
        expect(way.bytes - before).toBeLessThan(LITTLE);
      },
    ],
    [
      "a moved tree whose index is lost: its large file is renamed",
      async (m) => {
        fs.mkdirSync(m.at("d"), { recursive: true });
        fs.writeFileSync(m.at("d/large"), random(8 * MIB));
        files(m.at("d/e"), 200, 1000);
        await m.mirrored();
        fs.mkdirSync(m.at("new"));
        fs.renameSync(m.at("d"), m.at("new/place"));
        await using way = await proxied(m);
        const exit = await m.rig.run(["mirror", m.folder, way.address, "--once"]);
        expect(exit).toMatchObject({ code: 0, stderr: "" });
        await m.equal();
        expect(way.bytes).toBeLessThan(LITTLE + 200 * 1300);
      },
    ],
    [
      "one byte in the middle of a large file",
      async (m) => {
        fs.writeFileSync(m.at("large"), random(32 * MIB));
        await using way = await proxied(m);
        const program = m.rig.start(["mirror", m.folder, way.address, "--json"]);
        await m.equal();
        await program.printed(/"watching"/);
        const before = way.bytes;
        const fd = fs.openSync(m.at("large"), "r+");
        fs.writeSync(fd, "!", 16 * MIB);
        fs.closeSync(fd);
        await m.equal();
        expect(way.bytes - before).toBeLessThan(600_000);
      },
    ],
    [
      "nothing has changed in 2,000 files",
      async (m) => {
        files(m.folder, 2000, 100);
        await using way = await proxied(m);
        const run = () => m.rig.run(["mirror", m.folder, way.address, "--once"]);
        expect(await run()).toMatchObject({ code: 0, stderr: "" });
        const before = way.bytes;
        expect(await run()).toMatchObject({ code: 0, stderr: "" });
        expect(way.bytes - before).toBeLessThan(LITTLE);
      },
    ],
  ]);
});

describe("through another name", () => {
  tell([
    [
      "a hard link changed through the other name, in the folder",
      async (m) => {
        m.write({ "a/one": "1", "b/two": "" });
        fs.rmSync(m.at("b/two"));
        fs.linkSync(m.at("a/one"), m.at("b/two"));
        const following = await m.follow();
        await m.equal();
        fs.appendFileSync(m.at("b/two"), "changed");
        await m.equal();
        await following.leave();
      },
    ],
    [
      "a hard link changed through a name outside the folder",
      async (m) => {
        const outside = m.rig.folder();
        m.write({ "a/one": "1" });
        fs.linkSync(m.at("a/one"), path.join(outside, "name"));
        const following = await m.follow();
        await m.equal();
        fs.appendFileSync(path.join(outside, "name"), "changed");
        await m.equal();
        await following.leave();
      },
    ],
  ]);
});

describe("floods", () => {
  tell([
    [
      "20,000 files at once while the program is stopped: more events than the system keeps",
      async (m) => {
        m.write({ a: "1" });
        const following = await m.follow();
        following.program.child.kill("SIGSTOP");
        files(m.folder, 20_000, 8);
        following.program.child.kill("SIGCONT");
        await m.equal();
        expect(m.names().length).toBe(20_041);
        await until(() => following.of("synced").at(-1)?.entries === 20_041, 200);
        // It is told to be in step when a look at everything has found nothing more.
        const { events } = following;
        const synced = events.findIndex(({ type, entries }) => type === "synced" && entries === 20_041);
        const pushed = events.slice(0, synced).findLastIndex(({ type }) => type === "pushed");
        expect(events.slice(pushed, synced).some(({ type }) => type === "walking")).toBe(true);
        await until(() => filesInTheBooks(m) === 20_001, 200);
        await following.leave();
      },
    ],
    [
      "files are made and deleted all the time, in folders that come and go",
      async (m) => {
        const following = await m.follow();
        let seed = 7;
        const next = (below: number): number => {
          seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
          return seed % below;
        };
        for (let i = 0; i < 1500; i++) {
          const name = `${next(12)}/${next(6)}/${next(10)}`;
          if (next(3) > 0) m.write({ [name]: `${i}`.repeat(next(200)) });
          else if (next(4) === 0) fs.rmSync(m.at(`${next(12)}`), { recursive: true, force: true });
          else fs.rmSync(m.at(name), { force: true });
          if (i % 50 === 0) await sleep(10);
        }
        await m.equal();
        await following.leave();
      },
    ],
  ]);
});

const LARGE = 32 * MIB;

/** Starts mirroring a large file on a way that passes half of it, and resolves when some has arrived. */
async function halfWay(m: Mirrored) {
  fs.writeFileSync(m.at("large"), random(LARGE));
  m.write({ "before/small": "1", "z/small": "2" });
  const way = await proxied(m, LARGE / 2);
  const client = m.rig.start(["mirror", m.folder, way.address]);
  await until(() => arrived(m) > LARGE / 8);
  return { client, way };
}

/** The content that was sent, by what the program says of it. */
function sentBytes(stdout: string): number {
  const synced = stdout.split("\n").filter((line) => line.includes('"type":"synced"'));
  return synced.reduce((sum, line) => sum + Number(JSON.parse(line).bytesSent), 0);
}

/** Bytes of the unfinished large file. */
function arrived(m: Mirrored): number {
  const staging = path.join(m.shared.home, ".confundo", "staging", m.name);
  const sizes = fs.readdirSync(staging).map((name) => fs.statSync(path.join(staging, name)).size);
  return Math.max(0, ...sizes);
}

describe("kill -9", () => {
  tell([
    [
      "of the client in the middle of a large file: nothing torn, and it goes on where it was",
      async (m) => {
        const { client, way } = await halfWay(m);
        await client.kill("SIGKILL");
        await way[Symbol.asyncDispose]();
        const had = arrived(m);
        expect(m.names()).not.toContain("large");
        const { code, stdout } = await m.once("--json");
        expect(code).toBe(0);
        await m.equal();
        expect(sentBytes(stdout)).toBeLessThan(LARGE - had + MIB);
      },
    ],
    [
      "of the client again and again",
      async (m) => {
        files(m.folder, 1500, 3000);
        fs.writeFileSync(m.at("large"), random(6 * MIB));
        for (let i = 0; i < 5; i++) {
          const client = m.rig.start(["mirror", m.folder, m.address]);
          await sleep(400 + i * 60);
          await client.kill("SIGKILL");
          for (const [name, { size, content }] of m.snapshot()) {
            if (size > 0) expect(content, name).toBe(sha256(m.at(name)));
          }
        }
        expect(await m.once()).toMatchObject({ code: 0 });
        await m.equal();
      },
    ],
  ]);

  async function alone(m: Mirrored): Promise<{ m: Mirrored; shared: Shared }> {
    const shared = await serve(m.rig);
    return { m: new Mirrored(m.rig, shared), shared };
  }

  tell([
    [
      "of the server in the middle of a large file: the client goes on by itself",
      async (given) => {
        const { m, shared } = await alone(given);
        const { client, way } = await halfWay(m);
        await using _ = way;
        await shared.server.kill("SIGKILL");
        expect(m.names()).not.toContain("large");
        await serve(m.rig, shared.home, shared.port);
        way.heal();
        await client.printed(/goes on at \d/);
        await m.equal();
      },
    ],
    [
      "of the server again and again while the folder changes",
      async (given) => {
        const { m, shared } = await alone(given);
        files(m.folder, 300, 2000);
        const following = await m.follow();
        let { server } = shared;
        for (let i = 0; i < 3; i++) {
          await server.kill("SIGKILL");
          files(m.at(`new ${i}`), 200, 2000);
          fs.renameSync(m.at(`0/${i}`), m.at(`0/renamed ${i}`));
          ({ server } = await serve(m.rig, shared.home, shared.port));
          m.write({ "0/100": `${i}` });
          await until(() => fs.readFileSync(m.there("0/100"), "utf8") === `${i}`);
        }
        await m.equal();
        expect(following.program.ended).toBe(false);
      },
    ],
  ]);
});

describe("the network", () => {
  tell([
    [
      "is cut for longer than a connection lives, while the folder changes, and healed",
      async (m) => {
        m.write({ a: "1", "d/b": "2" });
        await using way = await proxied(m);
        const program = m.rig.start(["mirror", m.folder, way.address]);
        await m.equal();
        await program.printed(/synced/);
        way.cut();
        m.write({ a: "while cut", "d/new": "3" });
        fs.renameSync(m.at("d/b"), m.at("c"));
        await program.printed(/Trying again/);
        way.heal();
        await m.equal();
        expect(program.ended).toBe(false);
      },
    ],
    [
      "is cut for two seconds in the middle of a transfer",
      async (m) => {
        fs.writeFileSync(m.at("large"), random(24 * MIB));
        await using way = await proxied(m, 8 * MIB);
        const program = m.rig.start(["mirror", m.folder, way.address, "--json"]);
        await until(() => arrived(m) > 2 * MIB);
        await sleep(2000);
        way.heal();
        await m.equal();
        await program.printed(/"type":"synced"/);
        expect(sentBytes(program.stdout)).toBeLessThanOrEqual(24 * MIB);
      },
    ],
  ]);
});
