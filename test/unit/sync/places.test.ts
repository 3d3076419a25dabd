import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { Places } from "../../../src/sync/places.js";
import { make, tempFolder } from "../../support/sync-rig.js";

const openDescriptors = (): number => fs.readdirSync("/proc/self/fd").length;

describe.runIf(process.platform === "linux")("Places", () => {
  test("reach what is inside, however many folders are asked for in a row", async () => {
    const root = tempFolder();
    const names = Array.from({ length: 200 }, (_, i) => `${i}/in/f`);
    make(root, Object.fromEntries(names.map((name) => [name, name])));
    const before = openDescriptors();
    const places = new Places(root);
    for (const name of names) expect(fs.readFileSync(places.at(name), "utf8")).toBe(name);
    // Renaming takes two folders at a time.
    for (const name of names) fs.renameSync(places.at(name), places.at(`${(Number.parseInt(name, 10) + 1) % 200}/g`));
    await Promise.resolve();
    expect(openDescriptors()).toBe(before);
    expect(fs.readFileSync(path.join(root, "1/g"), "utf8")).toBe("0/in/f");
  });

  test("follow no link, also not one that has come since", async () => {
    const root = tempFolder();
    const outside = tempFolder();
    make(root, { "a/b/c": null });
    const places = new Places(root);
    const before = places.at("a/b/c/f");
    fs.renameSync(path.join(root, "a"), path.join(root, "was"));
    fs.symlinkSync(outside, path.join(root, "a"));
    fs.mkdirSync(path.join(outside, "b/c"), { recursive: true });
    // What was reached is the folder that was there.
    fs.writeFileSync(before, "inside");
    expect(fs.readdirSync(path.join(root, "was/b/c"))).toEqual(["f"]);
    await Promise.resolve();
    expect(() => places.at("a/b/c/f")).toThrow(expect.objectContaining({ code: "ERR_NOT_A_FOLDER" }));
    expect(() => places.at("a/x")).toThrow("the mirror's a is not a folder");
    expect(() => places.at("none/x")).toThrow("there is no folder none");
    expect(fs.readdirSync(path.join(outside, "b/c"))).toEqual([]);
  });
});
