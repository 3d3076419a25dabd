/** What the mirror has somewhere is not sent again. */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { type Following, Mirrored, serve, test } from "../../support/mirrored.js";
import { random } from "../../support/program.js";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Content with another byte at each of these places. */
function edited(content: Buffer, ...at: number[]): Buffer {
  const copy = Buffer.from(content);
  for (const offset of at) copy[offset] = ~(copy[offset] ?? 0) & 0xff;
  return copy;
}

/** Waits until the server has recorded the chunks of these files. Their names must be too long to stand in a hash by chance. */
async function writtenDown(mirrored: Mirrored, ...names: string[]): Promise<void> {
  const sources = path.join(mirrored.shared.home, ".confundo/chunk-index", mirrored.name, "sources");
  const known = (): boolean => {
    const log = fs.existsSync(sources) ? fs.readFileSync(sources, "latin1") : "";
    return names.every((name) => log.includes(name));
  };
  while (!known()) await sleep(20);
}

/** Mirrors once: how many bytes of content were sent. */
async function sentOnce(mirrored: Mirrored): Promise<number> {
  const { code, stdout } = await mirrored.once("--json");
  expect(code).toBe(0);
  await mirrored.equal();
  const pushed = stdout.split("\n").filter((line) => line.includes('"type":"pushed"'));
  return pushed.reduce((sum, line) => sum + Number(JSON.parse(line).bytes), 0);
}

type Tree = Readonly<Record<string, Buffer>>;
type Told = readonly [
  what: string,
  before: () => Tree,
  change: (mirrored: Mirrored, before: Tree) => void | Promise<void>,
  most: number,
];

const read = (m: Mirrored, name: string): Buffer => fs.readFileSync(m.at(name));
const told: Told[] = [
  [
    "an edited copy under a new name",
    () => ({ original: random(8 * MIB) }),
    (m) => m.write({ copy: edited(read(m, "original"), 4e6) }),
    MIB,
  ],
  [
    "a log that is rotated, and the new one begins with lines of the old",
    () => ({ "app.log": random(4 * MIB) }),
    (m) => {
      fs.appendFileSync(m.at("app.log"), random(1000));
      fs.renameSync(m.at("app.log"), m.at("app.log.1"));
      m.write({ "app.log": read(m, "app.log.1").subarray(-300 * KIB) });
    },
    900 * KIB,
  ],
  [
    "something is put in front of a copy",
    () => ({ original: random(4 * MIB) }),
    (m) => m.write({ copy: Buffer.concat([random(5000), read(m, "original")]) }),
    600 * KIB,
  ],
  [
    "two files are joined, and a third has parts of both",
    () => ({ "first.bin": random(3 * MIB), "second.bin": random(3 * MIB) }),
    (m) => {
      const [a, b] = [read(m, "first.bin"), read(m, "second.bin")];
      m.write({ joined: Buffer.concat([a, b]), parts: Buffer.concat([b.subarray(1e6), a.subarray(1e6)]) });
    },
    1.5 * MIB,
  ],
  [
    "a folder is moved and each file in it is edited",
    () => Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`old/sub/file ${i}`, random(MIB)])),
    (m, before) => {
      for (const name of Object.keys(before)) m.write({ [`new/${name}`]: edited(read(m, name), 5e5) });
      fs.rmSync(m.at("old"), { recursive: true });
    },
    12 * 260 * KIB,
  ],
  [
    "a file is deleted, and comes back edited",
    () => ({ file: random(3 * MIB), other: Buffer.from("stays") }),
    async (m, { file = Buffer.alloc(0) }) => {
      fs.rmSync(m.at("file"));
      await m.equal();
      m.write({ again: edited(file, 1e6) });
    },
    500 * KIB,
  ],
  [
    "a file is replaced by another, and the first one comes back",
    () => ({ file: random(3 * MIB) }),
    async (m, { file = Buffer.alloc(0) }) => {
      m.write({ file: "something else" });
      await m.equal();
      m.write({ file });
    },
    10 * KIB,
  ],
];

for (const [what, before, change, most] of told) {
  test.concurrent(`${what}: little is sent`, async ({ mirrored }) => {
    const tree = before();
    mirrored.write(tree);
    const following: Following = await mirrored.follow();
    await mirrored.equal();
    await writtenDown(
      mirrored,
      ...Object.entries(tree).flatMap(([name, { length }]) => (length > MIB / 2 ? [name] : [])),
    );
    const sent = following.sum("pushed", "bytes");
    await change(mirrored, tree);
    await mirrored.equal();
    await following.leave();
    expect(following.sum("pushed", "bytes") - sent).toBeLessThan(most);
  });
}

test("between runs as well, of what an earlier one has sent", async ({ mirrored }) => {
  const original = random(4 * MIB);
  mirrored.write({ original });
  await mirrored.mirrored();
  await writtenDown(mirrored, "original");
  mirrored.write({ copy: edited(original, 1e6, 3e6) });
  expect(await sentOnce(mirrored)).toBeLessThan(MIB);
});

test("of what a server wrote down before it was killed, and of what it had no time for", async ({ rig }) => {
  const shared = await serve(rig);
  const mirrored = new Mirrored(rig, shared);
  const [a, b] = [random(4 * MIB), random(48 * MIB)];
  mirrored.write({ "first.bin": a });
  await mirrored.mirrored();
  await writtenDown(mirrored, "first.bin");
  mirrored.write({ "second.bin": b });
  await mirrored.mirrored();
  await shared.server.kill("SIGKILL");
  await serve(rig, shared.home, shared.port);
  mirrored.write({ "edited first": edited(a, 2e6) });
  expect(await sentOnce(mirrored)).toBeLessThan(MIB);
  // The look after that has found it.
  await writtenDown(mirrored, "second.bin", "edited first");
  mirrored.write({ "edited second": edited(b, 2e6) });
  expect(await sentOnce(mirrored)).toBeLessThan(MIB);
});
