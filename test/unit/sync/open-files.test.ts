import fs from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { useAddon } from "../../../src/native/addon.js";
import { OpenFiles } from "../../../src/sync/open-files.js";
import { event, follow, make, ofType, tempFolder, testHome, until } from "../../support/sync-rig.js";

afterEach(() => useAddon(true));

describe("files that are open", () => {
  test("are due when they are closed, or have waited for long, each time once", () => {
    const open = new OpenFiles(5000);
    open.add("closes", false, 0);
    open.add("stays", false, 0);
    open.add("emptied", true, 0);
    const isOpen = (name: string): boolean | undefined => (name === "emptied" ? undefined : name === "stays");
    expect(open.due(isOpen, 10)).toEqual(["closes"]);
    expect(open.due(isOpen, 20)).toEqual([]);
    expect(open.due(isOpen, 2000)).toEqual(["emptied"]);
    open.add("closes", false, 3000);
    expect(open.isOverdue("closes", 4999)).toBe(false);
    expect(open.due(isOpen, 5000)).toEqual(["closes", "stays"]);
    expect(open.isOverdue("stays", 5000)).toBe(true);
    open.delete("stays");
    expect([open.size, open.isOverdue("stays", 5000)]).toEqual([2, false]);
  });

  test("are checked soon at first, and then less often", () => {
    const open = new OpenFiles(5000);
    open.add("f", false, 0);
    expect(Array.from({ length: 5 }, () => open.nextCheckMs())).toEqual([10, 20, 40, 50, 50]);
  });
});

test("where there are no leases, a file that becomes empty is given time before it replaces content", async () => {
  useAddon(false);
  const { connect, at } = testHome();
  const folder = tempFolder();
  make(folder, { f: "content", g: "content" });
  const { seen, events } = follow(folder, () => connect(), { settleMs: 5 });
  await event(events, "synced");
  fs.truncateSync(path.join(folder, "f"));
  fs.truncateSync(path.join(folder, "g"));
  make(folder, { other: "1" });
  await until(() => fs.existsSync(path.join(at(), "other")));
  make(folder, { f: "written" });
  await until(() => fs.readFileSync(path.join(at(), "f"), "utf8") === "written");
  const sent = ofType(seen, "pushed").filter(({ path: name }) => name === "f");
  expect(sent.map(({ bytes }) => bytes)).toEqual([7, 7]);
  await until(() => fs.readFileSync(path.join(at(), "g"), "utf8") === "");
});
