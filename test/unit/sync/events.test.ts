import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { EVENTS_VERSION } from "../../../src/cli/json-lines.js";
import { EventSchema } from "../../support/event-schema.js";
import { event, follow, make, mirrorOnce, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";

const schema = new EventSchema();

describe("docs/events.md", () => {
  test("has a heading for every type of event that the source has, and no other, and the version that is printed", () => {
    const source = fs.readFileSync(new URL("../../../src/sync/events.ts", import.meta.url), "utf8");
    const types = [...source.matchAll(/readonly type: "(\w+)"/g)].map(([, type]) => type as string);
    expect([...schema.types.keys()].sort()).toEqual([...new Set(types)].sort());
    expect(schema.version).toBe(EVENTS_VERSION);
  });

  test("the check sees what it is for", () => {
    expect(schema.problems({ type: "deleted", path: "a", kind: "file" })).toEqual([]);
    expect(schema.problems({ type: "deleted", path: 1, kind: "pipe", more: 1 })).toHaveLength(3);
    expect(schema.problems({ type: "planned", steps: [{ do: "jump", kind: "file", path: "a" }] })).toHaveLength(9);
    expect(schema.problems({ type: "unheard of" })).toHaveLength(1);
  });

  test("holds for whatever a mirror emits in a rich life", async () => {
    const rig = testHome();
    const [folder, away] = [tempFolder(), tempFolder()];
    make(folder, { "a/f": "1", large: randomBytes(3_000_000), l: { link: "nowhere" }, socket: "" });
    const dry = await mirrorOnce(folder, () => rig.connect(), { dryRun: true });
    // What is in the way stays there, also when the ends find out that they differ.
    const options = { backoff: { firstMs: 5 }, retryMs: 30, ignore: ["in the way"], maxDelete: 1 };
    const { events, seen } = follow(folder, () => rig.connect(), options);
    await Promise.all([event(events, "synced"), event(events, "watching")]);
    fs.appendFileSync(path.join(folder, "large"), "more");
    await event(events, "pushed", (one) => one.path === "large" && one.bytes < 3_000_000);
    fs.renameSync(path.join(folder, "large"), path.join(folder, "moved"));
    await event(events, "moved");
    make(rig.at(), { "blocked/in the way": "x" });
    make(folder, { blocked: "a file" });
    await event(events, "failed", (one) => one.again === true);
    fs.rmSync(path.join(folder, "a"), { recursive: true });
    await event(events, "deleted");
    for (const name of ["moved", "l"]) fs.renameSync(path.join(folder, name), path.join(away, name));
    await event(events, "held");
    for (const name of ["moved", "l"]) fs.renameSync(path.join(away, name), path.join(folder, name));
    await event(events, "released");
    rig.pairs.at(-1)?.cut();
    await event(events, "connected", ({ reconnected }) => reconnected);
    await until(() => ofType(seen, "synced").length > 1);
    const all = [...dry, ...seen];
    expect(all.flatMap((one) => schema.problems(JSON.parse(JSON.stringify(one))))).toEqual([]);
    const rare = ["superseded", "resumed", "notice", "confirmed"];
    const missing = [...schema.types.keys()].filter((type) => !all.some((one) => one.type === type));
    expect(missing.filter((type) => !rare.includes(type))).toEqual([]);
  });
});
