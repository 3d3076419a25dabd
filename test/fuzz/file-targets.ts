/** State files that may be damaged: a disk that lied, half a write, another program. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { parseConfig } from "../../src/cli/config.js";
import { UsageError } from "../../src/cli/report.js";
import { DeviceState } from "../../src/secure/device.js";
import { SecureError } from "../../src/secure/errors.js";
import { HomeState } from "../../src/server/state.js";
import { ContentStore } from "../../src/server/versions/content.js";
import { ChunkList, chunkRecord } from "../../src/sync/chunk.js";
import { ChunkIndex } from "../../src/sync/chunk-index.js";
import { ChunkLists } from "../../src/sync/chunk-lists.js";
import { type Entry, IndexFile } from "../../src/sync/index.js";
import { RunFile } from "../../src/sync/run-file.js";
import { scratch } from "./scratch.js";
import type { Target } from "./targets.js";

const text = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));

/** Runs what may report that something is damaged. */
function reports(known: new (...args: never[]) => Error, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof known)) throw error;
  }
}

const index: Target = {
  async run(bytes) {
    const file = path.join(scratch("index"), "index");
    fs.writeFileSync(file, bytes);
    const index = new IndexFile(file, "owner");
    const entry = { kind: "file", path: "a", size: 1, mtimeNs: 2n, executable: false, version: "1.1" } as const;
    await index.open();
    const entries = new Map<string, Entry>([["a", { ...entry }]]);
    await index.vouch(entries, { hashes: true });
    index.record(entry, new Uint8Array(32).fill(3));
    index.close();
    // Whatever was there, what is recorded now is found.
    const recorded = await new IndexFile(file, "owner").open();
    const hash = recorded.hashOf(entry);
    assert.ok(hash === undefined || hash === "03".repeat(32));
  },
  seeds() {
    const file = path.join(scratch("index-seed"), "index");
    const index = new IndexFile(file, "owner");
    for (const name of ["a", "b", "c"]) {
      const version = `${name.charCodeAt(0)}.123456789`;
      index.record(
        { kind: "file", path: name, size: 1, mtimeNs: 2n, executable: false, version },
        new Uint8Array(32).fill(1),
      );
    }
    index.close();
    return [fs.readFileSync(file)];
  },
};

/** The first two bytes say how much of the input is the sources; the rest is the table. */
const chunkIndex: Target = {
  maxBytes: 2048,
  async run(bytes) {
    const folder = scratch("chunk-index");
    const cut = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
    const [sources, table] = [bytes.slice(2, 2 + cut), bytes.slice(2 + cut)];
    fs.writeFileSync(path.join(folder, "sources"), sources);
    // A table has a certain length; it is written over the beginning of a true one.
    const whole = Buffer.alloc(1025 * 256);
    whole.set(table);
    fs.writeFileSync(path.join(folder, "table"), whole);
    const index = new ChunkIndex(folder);
    index.knows("a", 1, 2n);
    const list = new ChunkList(chunkRecord(4096, 0x0505));
    await index.add({ path: "a", size: 4096, mtimeNs: 2n, sha256: "05".repeat(32) } as never, list);
    index.close();
    fs.rmSync(folder, { recursive: true, force: true });
  },
  seeds() {
    const folder = scratch("chunk-index-seed");
    const index = new ChunkIndex(folder);
    const list = new ChunkList(chunkRecord(4096, 0x0505));
    void index.add({ path: "a", size: 4096, mtimeNs: 2n, sha256: "05".repeat(32) } as never, list);
    index.close();
    const read = (name: string): Buffer =>
      fs.existsSync(path.join(folder, name)) ? fs.readFileSync(path.join(folder, name)) : Buffer.alloc(0);
    const [sources, table] = [read("sources"), read("table").subarray(0, 600)];
    return [Buffer.concat([Buffer.from([sources.length >> 8, sources.length & 255]), sources, table])];
  },
};

const chunkList: Target = {
  async run(bytes) {
    const folder = scratch("chunk-lists");
    const file = path.join(folder, "content");
    if (!fs.existsSync(file)) fs.writeFileSync(file, Buffer.alloc(8192, 1));
    const fd = fs.openSync(file, "r");
    const kept = path.join(folder, "kept");
    fs.mkdirSync(kept, { recursive: true });
    const { dev, ino, size, mtimeNs } = fs.fstatSync(fd, { bigint: true });
    fs.writeFileSync(path.join(kept, [dev, ino, size, mtimeNs].map((part) => part.toString(16)).join("-")), bytes);
    const list = await new ChunkLists(kept).of(fd, 0);
    assert.ok(list === undefined || list.fits(8192));
    fs.closeSync(fd);
    fs.rmSync(kept, { recursive: true, force: true });
  },
  seeds: () => [Buffer.concat([chunkRecord(4096, 0x0505), chunkRecord(4096, 0x0606)])],
};

const journal: Target = {
  run(bytes) {
    const dir = path.join(scratch("journal"), "versions");
    const run = path.join(dir, "incoming", "1-abcd");
    fs.mkdirSync(run, { recursive: true, mode: 0o700 });
    // Of a program that cannot be running.
    const dead = path.join(dir, "incoming", "999999999-abcd");
    fs.renameSync(run, dead);
    fs.writeFileSync(path.join(dead, "journal"), bytes);
    fs.writeFileSync(path.join(dead, "0"), "content");
    for (const retired of new ContentStore(dir).unfinished()) {
      assert.equal(typeof retired.folder, "string");
      assert.equal(typeof retired.path, "string");
      assert.ok(Number.isFinite(retired.at) && Number.isFinite(retired.size) && BigInt(retired.mtimeNs) !== undefined);
      assert.ok(["file", "link"].includes(retired.kind) && ["replaced", "deleted"].includes(retired.why));
      // It names a file in the folder of its run.
      assert.ok(retired.kind === "link" || /^\d+$/.test(retired.id));
    }
    fs.rmSync(dir, { recursive: true, force: true });
  },
  seeds() {
    const retired = {
      id: "0",
      run: "999999999-abcd",
      folder: "m",
      path: "a",
      why: "replaced",
      at: 5,
      kind: "file",
      size: 7,
    };
    const line = JSON.stringify({ ...retired, mode: 0o644, mtimeNs: "5", target: null });
    return [text(`\n${line}\n`), text(`${line}\n${line.slice(0, 40)}`), text(line.replace('"file"', '"link"'))];
  },
};

let device: DeviceState | undefined;

/** The device's state, its key made once. */
function deviceState(): DeviceState {
  device ??= new DeviceState(scratch("device"));
  fs.mkdirSync(path.join(device.folder, "servers"), { recursive: true, mode: 0o700 });
  return device;
}

const PIN = createHash("sha256").update("server").digest("base64url");

const knownServer: Target = {
  run(bytes) {
    const device = deviceState();
    fs.writeFileSync(path.join(device.folder, "servers", "host_5000.json"), bytes, { mode: 0o600 });
    reports(SecureError, () => {
      const known = device.known("host", 5000);
      assert.ok(known === undefined || typeof known.pin === "string");
    });
  },
  seeds: () => [text({ pin: PIN, device: PIN }), text({ pin: PIN, device: PIN, name: "m" })],
};

const resumption: Target = {
  run(bytes) {
    const device = deviceState();
    fs.writeFileSync(path.join(device.folder, "servers", "host_5000.resumption"), bytes, { mode: 0o600 });
    const known = device.takeResumption("host", 5000, { pin: PIN, device: device.identity.pin });
    if (known === undefined) return;
    assert.equal(known.secret.length, 32);
    assert.equal(known.pin, PIN);
    assert.ok(Number.isFinite(known.shownMs));
  },
  seeds() {
    const { identity } = deviceState();
    const kept = { id: "0123456789abcdef", secret: Buffer.alloc(32, 1).toString("base64url"), pin: PIN, shownMs: 5 };
    return [text({ ...kept, device: identity.pin }), text({ ...kept, device: PIN })];
  },
};

const settings: Target = {
  run(bytes) {
    const home = scratch("home");
    const state = new HomeState(home);
    fs.mkdirSync(state.folder, { recursive: true, mode: 0o700 });
    fs.writeFileSync(path.join(state.folder, "config.json"), bytes, { mode: 0o600 });
    reports(SecureError, () => {
      const { database, host, port } = state.settings();
      assert.ok(database === undefined || typeof database === "string");
      assert.ok(host === undefined || typeof host === "string");
      assert.ok(port === undefined || Number.isInteger(port));
    });
  },
  seeds: () => [text({ database: "postgres://host/db", host: "10.0.0.1", port: 5000 }), text({})],
};

const config: Target = {
  run(bytes) {
    reports(UsageError, () => void parseConfig(Buffer.from(bytes).toString("utf8"), "/x/confundo.json"));
  },
  seeds() {
    const mirror = { folder: "a", address: "confundo://host:5000/m", ignore: ["*.o"], bandwidth: "5M", settle: "10ms" };
    return [text({ mirrors: [mirror] }), text({ mirrors: [{ ...mirror, delete: false, perms: true }] })];
  },
};

const runFile: Target = {
  run(bytes) {
    const file = path.join(scratch("run"), "index.run");
    fs.writeFileSync(file, bytes);
    const ended = new RunFile(file).ended();
    assert.ok(ended === undefined || typeof ended === "string");
  },
  seeds: () => [text({ instanceId: "i", pid: 999_999_999, started: "5", machine: "boot ns" })],
};

export const fileTargets = {
  index,
  "chunk-index": chunkIndex,
  "chunk-list": chunkList,
  journal,
  "known-server": knownServer,
  resumption,
  settings,
  config,
  "run-file": runFile,
};
