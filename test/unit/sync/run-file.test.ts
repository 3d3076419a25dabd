import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { openRemote } from "../../../src/sync/index.js";
import { RunFile } from "../../../src/sync/run-file.js";
import { tempFolder, testHome } from "../../support/sync-rig.js";

const edited = (file: string, change: object): void =>
  fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, "utf8")), ...change }));

describe("RunFile", () => {
  test("knows only of a run that has certainly ended", () => {
    const file = path.join(tempFolder(), "in", "run");
    const run = new RunFile(file);
    expect(run.ended()).toBeUndefined();
    run.claim("first");
    expect(run.ended()).toBeUndefined();
    const { pid } = spawnSync(process.execPath, ["--version"]);
    edited(file, { pid });
    expect(run.ended()).toBe("first");
    fs.writeFileSync(file, "{");
    expect(run.ended()).toBeUndefined();
    expect(fs.readdirSync(path.dirname(file))).toEqual(["run"]);
  });

  test.runIf(process.platform === "linux")("knows a process from a later one of that number, and this machine", () => {
    const file = path.join(tempFolder(), "run");
    const run = new RunFile(file);
    run.claim("first");
    edited(file, { started: "1" });
    expect(run.ended()).toBe("first");
    const { machine } = JSON.parse(fs.readFileSync(file, "utf8"));
    edited(file, { machine: machine.replace(/pid:\[\d+/, "pid:[1") });
    expect(run.ended()).toBeUndefined();
    edited(file, { machine: machine.replace(/^\w/, "x") });
    expect(run.ended()).toBe("first");
  });
});

test("a server lets the next run in at once when the one before has ended, though its connection stands", async () => {
  const rig = testHome({ probeMs: 60_000 });
  const identity = { name: "m", clientId: "c" };
  const first = await openRemote(rig.connect(), { ...identity, instanceId: "killed" });
  const second = await openRemote(rig.connect(), { ...identity, instanceId: "next", replaces: "killed" });
  expect((await first.closed)?.code).toBe("ERR_REPLACED");
  await expect(
    openRemote(rig.connect(), { ...identity, clientId: "another", instanceId: "x", replaces: "next" }),
  ).rejects.toMatchObject({ code: "ERR_MIRROR_BUSY" });
  await second.close();
});
