import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { FEATURE_FOLDERS, FEATURES, LEAST_ENTRIES_BY_FOLDER } from "../../../src/sync/limits.js";
import { Decoder, type Message } from "../../../src/sync/wire.js";
import { hello, rawClient } from "../../support/raw-client.js";
import { contents, make, mirrorOnce, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";

/** A folder that is mirrored already: 30 folders of 10 files, some of them in a tree 12 deep. */
async function mirrored() {
  const rig = testHome();
  const folder = tempFolder();
  const index = path.join(tempFolder(), "index");
  const deep = (i: number): string => (i % 3 === 0 ? Array.from({ length: i % 12 }, (_, n) => `${n}/`).join("") : "");
  make(folder, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${deep(i)}d${i % 30}/${i}`, `${i}`])));
  make(folder, { "links/l": { link: "x" }, "empty/e": null });
  const heard: Message[] = [];
  const connect = () => {
    const client = rig.connect();
    const decoder = new Decoder();
    client.on("data", (chunk: Buffer) => {
      decoder.push(chunk);
      for (let next = decoder.next(); next !== undefined; next = decoder.next()) heard.push(next);
    });
    return client;
  };
  await mirrorOnce(folder, connect, { index });
  await until(() => rig.events.some(({ type }) => type === "closed"));
  const again = async () => {
    heard.length = 0;
    const events = await mirrorOnce(folder, connect, { index });
    expect(contents(rig.at())).toEqual(contents(folder));
    return events;
  };
  const listed = (): string[] =>
    heard.flatMap((message) => (message.type === "entries" ? message.entries.map((entry) => entry.path) : []));
  return { rig, folder, again, heard, listed };
}

describe("where the two ends differ", () => {
  test("only folders that differ are listed, whatever has changed on whichever side", async () => {
    const { rig, folder, again, listed, heard } = await mirrored();
    await again();
    expect(listed()).toEqual([]);
    expect(fs.readdirSync(folder).length).toBeGreaterThan(20);

    fs.appendFileSync(path.join(folder, "d1/1"), "more");
    expect(ofType(await again(), "pushed").map((event) => event.path)).toEqual(["d1/1"]);
    const below = listed().filter((name) => name.includes("/"));
    expect(below.length).toBeGreaterThan(0);
    expect(below.filter((name) => !name.startsWith("d1/"))).toEqual([]);

    const other = "0/1/2/3/4/5/d6";
    const victim = fs.readdirSync(path.join(rig.at(), other)).find((name) => name !== "d6") as string;
    fs.rmSync(path.join(rig.at(), other, victim));
    fs.rmSync(path.join(folder, "d2"), { recursive: true });
    fs.writeFileSync(path.join(rig.at(), "d4/stray"), "x");
    await again();
    expect(
      new Set(
        listed()
          .filter((name) => name.startsWith("d"))
          .map((name) => name.split("/")[0]),
      ),
    ).toContain("d4");
    expect(listed().some((name) => name.startsWith("d5/"))).toBe(false);
    expect(heard.filter(({ type }) => type === "folders").length).toBeGreaterThan(5);

    await again();
    expect(listed()).toEqual([]);
  });

  test("what is known of the rest is as if it was listed: a later change of it is noticed", async () => {
    const { folder, again } = await mirrored();
    fs.appendFileSync(path.join(folder, "d1/1"), "more");
    await again();
    const file = path.join(folder, "d7/7");
    const { atimeMs, mtimeMs } = fs.statSync(file);
    fs.writeFileSync(file, "X");
    fs.utimesSync(file, atimeMs / 1000, mtimeMs / 1000);
    expect(ofType(await again(), "pushed").map((event) => event.path)).toEqual(["d7/7"]);
  });

  test("a mirror that is small is listed at once", async () => {
    const rig = testHome();
    const folder = tempFolder();
    const index = path.join(tempFolder(), "index");
    make(folder, Object.fromEntries(Array.from({ length: LEAST_ENTRIES_BY_FOLDER / 4 }, (_, i) => [`${i}/f`, "x"])));
    await mirrorOnce(folder, () => rig.connect(), { index });
    const client = rawClient(rig.connect());
    client.say(hello({ clientId: "other", features: FEATURES & ~4 }));
    await client.hear("welcome");
    client.say({ type: "list", root: Buffer.alloc(32), verify: false, perms: false, folders: true });
    expect((await client.hear("listed")).count).toBe(LEAST_ENTRIES_BY_FOLDER / 2);
    expect(client.heard.some(({ type }) => type === "folders")).toBe(false);
  });
});

describe("a client", () => {
  test("that knows nothing of folders' hashes is listed everything", async () => {
    const { rig } = await mirrored();
    const client = rawClient(rig.connect());
    client.say(hello({ features: FEATURES & ~FEATURE_FOLDERS & ~4 }));
    await client.hear("welcome");
    client.say({ type: "list", root: Buffer.alloc(32), verify: false, perms: false });
    const { count } = await client.hear("listed");
    const all = client.heard.flatMap((message) => (message.type === "entries" ? message.entries : []));
    expect(all).toHaveLength(count);
    expect(all.length).toBe(Object.keys(contents(rig.at())).length);
  });

  test("asks for folders that are there, after LIST and before anything else", async () => {
    for (const [list, folder] of [
      [true, "../x"],
      [true, "d1/1"],
      [false, "d1"],
    ] as const) {
      const { rig } = await mirrored();
      const client = rawClient(rig.connect());
      client.say(hello({ features: FEATURES & ~4 }));
      await client.hear("welcome");
      if (list) {
        client.say({ type: "list", root: Buffer.alloc(32), verify: false, perms: false, folders: true });
        await client.hear("listed");
      }
      client.say({ type: "look", folders: [folder] });
      expect((await client.hear("error")).code).toBe("ERR_PROTOCOL");
    }
  });
});
