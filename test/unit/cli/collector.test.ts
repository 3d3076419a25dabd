import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { countBuffersWithHeap } from "../../../src/cli/collector.js";

test("a V8 that is not known to have the flag is left alone", () => {
  expect(countBuffersWithHeap("13.6.233.10-node.28")).toBe(false);
  expect(countBuffersWithHeap("15.0.1")).toBe(false);
});

test("the flag is one that this V8 has: no error is printed", () => {
  const set = `require("v8").setFlagsFromString("--external-memory-accounted-in-global-limit")`;
  const known = process.versions.v8.startsWith("14.");
  expect(known ? spawnSync(process.execPath, ["-e", set], { encoding: "utf8" }).stderr : "").toBe("");
});
