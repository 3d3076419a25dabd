/** Large files killed half way, more files at once than a system tells of, a tree that is moved while it is written to. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { Mirrored, type Shared, serve, test } from "../support/mirrored.js";
import { random, sha256, until } from "../support/program.js";

const MIB = 1024 * 1024;
const WITHIN = { withinMs: 300_000 } as const;

function large(file: string, mebibytes: number): void {
  const fd = fs.openSync(file, "w");
  for (let i = 0; i < mebibytes; i++) fs.writeSync(fd, random(MIB));
  fs.closeSync(fd);
}

function arrived(m: Mirrored): number {
  const staging = path.join(m.shared.home, ".confundo", "staging", m.name);
  return Math.max(0, ...fs.readdirSync(staging).map((name) => fs.statSync(path.join(staging, name)).size));
}

async function alone(m: Mirrored): Promise<{ m: Mirrored; shared: Shared }> {
  const shared = await serve(m.rig);
  return { m: new Mirrored(m.rig, shared), shared };
}

describe("512 MiB", () => {
  test("kill -9 of the client, five times on the way: nothing torn, each goes on where the one before was", async ({
    mirrored: m,
  }) => {
    large(m.at("large"), 512);
    let had = 0;
    for (let i = 1; i <= 5; i++) {
      const client = m.rig.start(["mirror", m.folder, m.address]);
      await until(() => arrived(m) > i * 80 * MIB, 2);
      await client.kill("SIGKILL");
      expect(m.names()).toEqual([]);
      await sleep(300);
      expect(arrived(m)).toBeGreaterThanOrEqual(had);
      had = arrived(m);
    }
    expect(await m.once()).toMatchObject({ code: 0, stderr: expect.stringMatching(/goes on at/) });
    await m.equal(WITHIN);
  });

  test("kill -9 of the server, three times on the way: the client goes on by itself", async ({ mirrored: given }) => {
    const { m, shared } = await alone(given);
    large(m.at("large"), 512);
    m.rig.start(["mirror", m.folder, m.address]);
    let { server } = shared;
    for (let i = 1; i <= 3; i++) {
      await until(() => arrived(m) > i * 120 * MIB, 2);
      await server.kill("SIGKILL");
      expect(m.names()).toEqual([]);
      ({ server } = await serve(m.rig, shared.home, shared.port));
    }
    await m.equal(WITHIN);
  });

  test("it is replaced while it is sent: what is seen is one of the two", async ({ mirrored: m }) => {
    large(m.at("large"), 512);
    const first = sha256(m.at("large"));
    const following = await m.follow();
    expect(sha256(m.there("large"))).toBe(first);
    large(m.at("next"), 512);
    fs.renameSync(m.at("next"), m.at("large"));
    await sleep(200);
    large(m.at("next"), 300);
    fs.renameSync(m.at("next"), m.at("large"));
    await m.equal(WITHIN);
    await following.leave();
  });
});

describe("floods", () => {
  test("50,000 files at once while the program is stopped", async ({ mirrored: m }) => {
    const following = await m.follow();
    following.program.child.kill("SIGSTOP");
    for (let i = 0; i < 50_000; i++) m.write({ [`${i % 100}/${i % 7}/${i}`]: `${i}` });
    following.program.child.kill("SIGCONT");
    await m.equal(WITHIN);
    await following.leave();
  });

  test("a tree of 10,000 files is moved again and again while it is written to", async ({ mirrored: m }) => {
    for (let i = 0; i < 10_000; i++) m.write({ [`t0/${i % 50}/${i}`]: `${i}` });
    const following = await m.follow();
    for (let i = 0; i < 20; i++) {
      fs.renameSync(m.at(`t${i}`), m.at(`t${i + 1}`));
      for (let j = 0; j < 50; j++) m.write({ [`t${i + 1}/${j}/new ${i}`]: `${i} ${j}` });
      await sleep(i * 20);
    }
    await m.equal(WITHIN);
    await following.leave();
  });

  test("files of more than 4 GiB, with holes", async ({ mirrored: m }) => {
    const fd = fs.openSync(m.at("sparse"), "w");
    fs.writeSync(fd, "start", 0);
    fs.writeSync(fd, "behind 4 GiB", 2 ** 32 + 5);
    fs.ftruncateSync(fd, 2 ** 32 + 1000);
    fs.closeSync(fd);
    await m.mirrored();
    const ends = (file: string): string => {
      const there = fs.openSync(file, "r");
      const buffer = Buffer.alloc(1000);
      fs.readSync(there, buffer, 0, 1000, 2 ** 32);
      fs.closeSync(there);
      return buffer.toString("latin1");
    };
    expect(fs.statSync(m.there("sparse")).size).toBe(2 ** 32 + 1000);
    expect(ends(m.there("sparse"))).toBe(ends(m.at("sparse")));
  });
});
