/**
 * Power cuts of a server: whatever moment its disk is left at, what was acknowledged is there, in content, versions and tokens, and
 * clients converge again. `CONFUNDO_POWER_CUTS` says how many moments are tried of each file system (default 8).
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect } from "vitest";
import { createAuth, Keeper, openDatabase } from "../../src/server/index.js";
import { cannotRecord, type FileSystem, MARKER, RecordedDisk } from "../support/powerloss/disk.js";
import { random, sha256, test } from "../support/program.js";
import { Random } from "../support/random.js";

const MIB = 1 << 20;
const CUTS = Number(process.env.CONFUNDO_POWER_CUTS ?? 8);
const ROUNDS = 10;
const SEED = 4711;
const PEER = { address: "127.0.0.1" };
const LOCAL = { kind: "local" } as const;

/** What a client was told to be at the server, and when. */
interface Acknowledged {
  readonly records: number;
  /** By path, the hash of what is there. */
  readonly tree: ReadonlyMap<string, string>;
  /** By path, the hashes of what was there before. */
  readonly versions: ReadonlyMap<string, ReadonlySet<string>>;
  readonly token: string | undefined;
}

function treeOf(folder: string): Map<string, string> {
  const tree = new Map<string, string>();
  for (const name of fs.readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const file = path.join(folder, name);
    if (fs.statSync(file).isFile()) tree.set(name, sha256(file));
  }
  return tree;
}

/** Small files and large ones, that are made, overwritten and deleted. */
function change(folder: string, round: number, dice: Random): void {
  for (let i = 0; i < 40; i++) {
    const file = path.join(folder, `d${dice.integer(0, 4)}`, `small ${dice.integer(0, 60)}`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    if (dice.chance(0.25)) fs.rmSync(file, { force: true });
    else fs.writeFileSync(file, random(dice.integer(1, 20_000)));
  }
  fs.writeFileSync(path.join(folder, "large"), random(2_000_000 + round));
  fs.writeFileSync(path.join(folder, `large ${round % 3}`), random(600_000 + round));
}

describe.each(["ext4", "xfs", "btrfs"] as const)("%s", (fileSystem: FileSystem) => {
  const why = cannotRecord(fileSystem);
  const onDisk = why === undefined ? test : test.skip;
  if (why !== undefined) console.warn(`power cuts on ${fileSystem} are not tried: ${why}`);

  onDisk("what was acknowledged survives a power cut at any moment", ({ rig }) =>
    RecordedDisk.using(rig, fileSystem, async (disk) => {
      const home = path.join(disk.mount, "home");
      const folder = rig.folder();
      const dice = new Random(SEED);
      const { server, port } = await rig.serve(home, "0", "--insecure");
      const database = await openDatabase({ path: path.join(home, ".confundo/database.sqlite") });
      const auth = createAuth({ database });
      await auth.addUser(LOCAL, { name: "ada", password: "correct horse battery", role: "admin" });
      const acknowledged: Acknowledged[] = [];
      const versions = new Map<string, Set<string>>();
      let before = new Map<string, string>();
      const play = async (round: number): Promise<void> => {
        change(folder, round, dice);
        const address = `confundo://127.0.0.1:${port}/m`;
        const { token } = await auth.createToken(LOCAL, {
          user: "ada",
          name: `t${round}`,
          scopes: [{ folder: null, access: "read" }],
          expiresInMs: null,
        });
        const ended = await rig.run(["mirror", folder, address, "--once", "--insecure", "--allow-mass-delete"]);
        expect(ended).toMatchObject({ code: 0 });
        const tree = treeOf(folder);
        for (const [name, hash] of before) {
          if (tree.get(name) !== hash) versions.set(name, new Set(versions.get(name)).add(hash));
        }
        const all = new Map([...versions].map(([name, hashes]) => [name, new Set(hashes)]));
        acknowledged.push({ records: disk.records, tree, versions: all, token });
        before = tree;
      };
      try {
        for (let round = 0; round < ROUNDS; round++) await play(round);
      } finally {
        // Memory that is mapped to its files goes before the disk does.
        await database.close();
        await server.kill("SIGKILL");
      }
      await disk.close();
      const [first, last] = [acknowledged[0] as Acknowledged, acknowledged.at(-1) as Acknowledged];
      const moments = Array.from({ length: CUTS - 1 }, () => dice.integer(first.records, last.records));
      let images = 0;
      await disk.images([...moments, last.records], SEED, async (mount, moment) => {
        images++;
        const at = acknowledged.findLastIndex(({ records }) => records <= moment);
        const known = acknowledged[at] as Acknowledged;
        await check(path.join(mount, "home"), known, acknowledged[at + 1], `${fileSystem}, cut after record ${moment}`);
        if (images % 4 === 0 || moment === last.records) await converge(path.join(mount, "home"));
      });

      async function converge(copy: string): Promise<void> {
        const { server: again, port: other } = await rig.serve(copy, "0", "--insecure");
        const address = `confundo://127.0.0.1:${other}/m`;
        const ended = await rig.run([
          "mirror",
          folder,
          address,
          "--once",
          "--insecure",
          "--verify",
          "--allow-mass-delete",
        ]);
        expect(ended).toMatchObject({ code: 0 });
        expect(treeOf(path.join(copy, "m"))).toEqual(treeOf(folder));
        await again.interrupt();
      }
    }),
  );

  onDisk("a write that fails is not acknowledged: after a try without trouble everything is on the disk", ({ rig }) =>
    RecordedDisk.using(rig, fileSystem, async (disk) => {
      const home = path.join(disk.mount, "home");
      const folder = rig.folder();
      const { server, port } = await rig.serve(home, "0", "--insecure");
      const acknowledged: { records: number; tree: Map<string, string> }[] = [];
      const play = async (): Promise<void> => {
        for (let i = 0; i < 200; i++) {
          const marked = i === 77 ? Buffer.from(MARKER) : Buffer.alloc(0);
          fs.writeFileSync(path.join(folder, `f${i}`), Buffer.concat([random(4096), marked, random(4096)]));
        }
        disk.failMarked(1);
        const address = `confundo://127.0.0.1:${port}/m`;
        for (let attempt = 0; ; attempt++) {
          const { code } = await rig.run(["mirror", folder, address, "--once", "--insecure"]);
          if (code === 0) break;
          expect(attempt).toBeLessThan(20);
        }
        acknowledged.push({ records: disk.records, tree: treeOf(folder) });
      };
      try {
        for (let round = 0; round < 3; round++) await play();
      } finally {
        await server.kill("SIGKILL");
      }
      expect(disk.failed).toBeGreaterThan(0);
      await disk.close();
      const moments = acknowledged.map(({ records }) => records);
      await disk.images(moments, SEED, async (mount, moment) => {
        const { tree } = acknowledged.find(({ records }) => records === moment) as { tree: Map<string, string> };
        expect(treeOf(path.join(mount, "home", "m"))).toEqual(tree);
      });
    }),
  );
});

describe.each(["xfs", "btrfs"] as const)("%s shares content", (fileSystem: FileSystem) => {
  const onDisk = cannotRecord(fileSystem) === undefined ? test : test.skip;

  onDisk("a version of a log of 100 MiB with 100 bytes appended costs about its change", ({ rig }) =>
    RecordedDisk.using(rig, fileSystem, async (disk) => {
      const folder = rig.folder();
      const { server, port } = await rig.serve(path.join(disk.mount, "home"), "0", "--insecure");
      const log = path.join(folder, "log");
      fs.writeFileSync(log, random(100 * MIB));
      const mirrored = () => rig.run(["mirror", folder, `confundo://127.0.0.1:${port}/m`, "--once", "--insecure"]);
      const settled = (): void => void spawnSync("sync", ["-f", disk.mount]);
      const free = (): number => {
        const { bavail, bsize } = fs.statfsSync(disk.mount);
        return bavail * bsize;
      };
      try {
        expect(await mirrored()).toMatchObject({ code: 0 });
        settled();
        const [writtenBefore, freeBefore] = [disk.written, free()];
        for (let i = 0; i < 5; i++) {
          fs.appendFileSync(log, random(100));
          expect(await mirrored()).toMatchObject({ code: 0 });
        }
        settled();
        const [written, taken] = [(disk.written - writtenBefore) / 5, (freeBefore - free()) / 5];
        console.log(
          `${fileSystem}: ${(written / MIB).toFixed(2)} MiB written, ${(taken / MIB).toFixed(2)} MiB taken by each`,
        );
        expect(written).toBeLessThan(2 * MIB);
        expect(taken).toBeLessThan(2 * MIB);
        expect(treeOf(path.join(disk.mount, "home", "m"))).toEqual(treeOf(folder));
      } finally {
        await server.kill("SIGKILL");
      }
    }),
  );
});

/** Whether a home holds what was acknowledged; what was on its way to the `next` state may be there or not. */
async function check(home: string, known: Acknowledged, next: Acknowledged | undefined, what: string): Promise<void> {
  const found = treeOf(path.join(home, "m"));
  const wrong: string[] = [];
  for (const name of new Set([...known.tree.keys(), ...found.keys()])) {
    const allowed = [known.tree.get(name), (next ?? known).tree.get(name)];
    if (!allowed.includes(found.get(name))) wrong.push(`${name} is ${found.get(name) ?? "missing"}`);
  }
  expect(wrong, what).toEqual([]);
  const database = await openDatabase({ path: path.join(home, ".confundo/database.sqlite") });
  const keeper = new Keeper({ dir: home, database, lookMs: 0 });
  try {
    if (known.token !== undefined)
      expect((await createAuth({ database }).authenticate(known.token, PEER as never)).kind).toBe("user");
    await keeper.start();
    await keeper.recovered();
    for (const [name, hashes] of known.versions) {
      const kept = new Set((await database.versions.list("m", name, { limit: 1000 })).map(({ sha256: hash }) => hash));
      for (const hash of hashes) {
        if (found.get(name) === hash) continue;
        const place = keeper.content.find(hash);
        if (!kept.has(hash)) wrong.push(`no version of ${name} is ${hash}`);
        else if (place === undefined) wrong.push(`the content of a version of ${name} is missing: ${hash}`);
        else if (sha256(place) !== hash) wrong.push(`the content of a version of ${name} is damaged: ${hash}`);
      }
    }
    expect(wrong, what).toEqual([]);
  } finally {
    await keeper.close();
    await database.close();
  }
}
