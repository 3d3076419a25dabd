import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Addon, addon, REUSE_PORT, type Udp } from "../../../src/native/addon.js";
import { tempFolder } from "../../support/sync-rig.js";

const BINARY = path.resolve(`dist/native/linux-${process.arch}.node`);
const { EBADF, EINVAL } = constants.errno;
const hasCompiler = ["cc", "gcc", "clang"].some((name) => spawnSync(name, ["--version"]).status === 0);
const native = addon() as Addon;

test.runIf(process.platform === "linux" && hasCompiler)("where there is a compiler it is built, and loaded", () => {
  expect(native).not.toBeNull();
});

test("where it is not permitted, or not for this platform, there is none", () => {
  const script = `
    const { addon } = await import(${JSON.stringify(path.resolve("src/native/addon.ts"))});
    process.stdout.write(String(addon()));`;
  const run = (flags: string[], before = "") =>
    execFileSync(process.execPath, [...flags, "--input-type=module", "-e", before + script], { encoding: "utf8" });
  expect(run(["--no-addons"])).toBe("null");
  expect(run([], 'Object.defineProperty(process, "arch", { value: "pdp11" });')).toBe("null");
  expect(run([], 'Object.defineProperty(process, "platform", { value: "win32" });')).toBe("null");
});

describe.skipIf(native === null)("the addon", () => {
  function bound(address = "127.0.0.1"): { udp: Udp; port: number } {
    const udp = new native.Udp();
    expect(udp.bind(address, 0, 0)).toBe(0);
    const [, port] = udp.address() as [string, number];
    return { udp, port };
  }

  test("refuses whatever is no argument of it, and nothing else happens", () => {
    const odd = fc.oneof(
      fc.anything({ withBigInt: true, withTypedArray: true, withSparseArray: true, withNullPrototype: true }),
      fc.constantFrom<unknown>(-1, 0, 1, 65_535, 65_536, 2 ** 31, 2 ** 53, 0.5, Number.NaN, Number.POSITIVE_INFINITY),
      fc.constantFrom<unknown>("", "127.0.0.1", "::1", "fe80::1%lo", "127.0.0.1\0", "x".repeat(5000), Symbol.iterator),
      fc.constantFrom<unknown>(new Uint8Array(70_000), new Uint8Array(new SharedArrayBuffer(8)), detached(), shrunk()),
      fc.constantFrom<unknown>(() => {}, native.Udp, new native.Udp(), native, new Proxy({}, {}), 2n ** 70n, true),
    );
    type Any = (...given: unknown[]) => unknown;
    const functions = [native.setTime, native.setTimeAt, native.uncache] as unknown as Any[];
    const methodOf = (udp: object, name: string): Any => Reflect.get(udp, name);
    const methods = Object.getOwnPropertyNames(native.Udp.prototype).filter((name) => name !== "constructor");
    expect(methods.length).toBeGreaterThan(10);
    const calls = fc.array(fc.tuple(fc.constantFrom(...methods), fc.array(odd, { maxLength: 5 })), { maxLength: 12 });
    fc.assert(
      fc.property(calls, fc.array(odd, { maxLength: 5 }), (steps, given) => {
        const udp = new native.Udp();
        for (const [name, values] of steps) expectNoCrash(() => methodOf(udp, name).call(udp, ...values));
        for (const call of functions) expectNoCrash(() => call(...given.filter((one) => typeof one !== "string")));
        expectNoCrash(() => (native.Udp as unknown as () => void)());
        if (!(given[0] instanceof native.Udp)) {
          for (const name of methods) expect(() => methodOf(udp, name).call(given[0])).toThrow(TypeError);
        }
        udp.close();
      }),
      { numRuns: 500 },
    );
  });

  function expectNoCrash(call: () => unknown): void {
    try {
      call();
    } catch (error) {
      expect(error).toBeInstanceOf(TypeError);
    }
  }

  test("says by errno what the kernel says", () => {
    const { udp, port } = bound();
    const other = new native.Udp();
    expect(udp.bind("127.0.0.1", 0, 0)).toBe(-EINVAL);
    expect(other.bind("127.0.0.1", port, 0)).toBe(-constants.errno.EADDRINUSE);
    expect(other.bind("nowhere", 0, 0)).toBe(-EINVAL);
    expect(other.bind("192.0.2.77", 0, 0)).toBe(-constants.errno.EADDRNOTAVAIL);
    expect(other.send(new Uint8Array(1), 1)).toBe(-EBADF);
    expect(other.connect("127.0.0.1", port)).toBe(-EBADF);
    expect(other.address()).toBe(-EBADF);
    expect(other.start(() => {})).toBe(-EINVAL);
    expect(other.waitFor(true, true)).toBe(-EBADF);
    expect(udp.allowReuse(true)).toBe(0);
    expect(other.bind("127.0.0.1", port, REUSE_PORT)).toBe(0);
    expect(other.sendTo(new Uint8Array(65_508), 65_508, "127.0.0.1", port)).toBe(-constants.errno.EMSGSIZE);
    expect(other.sendTo(new Uint8Array(1), 1, "127.0.0.1", 0)).toBe(-EINVAL);
    expect(other.send(new Uint8Array(0), 1)).toBe(0);
    for (const socket of [udp, other, udp]) socket.close();
    expect(udp.send(new Uint8Array(1), 1)).toBe(-EBADF);
    expect(native.setTime(-1, 0n)).toBe(-EBADF);
    expect(native.uncache(-1, 0, 1)).toBe(-EBADF);
    expect(native.setTimeAt(path.join(tempFolder(), "none"), 0n, true)).toBe(-constants.errno.ENOENT);
    expect(native.setTimeAt(tempFolder(), 2n ** 64n, true)).toBe(-EINVAL);
  });

  test("lets a part of a file go from memory, and no content", () => {
    const file = path.join(tempFolder(), "file");
    fs.writeFileSync(file, Buffer.alloc(100_000, 1), { flush: true });
    const fd = fs.openSync(file, "r+");
    fs.writeSync(fd, Buffer.alloc(10, 2), 0, 10, 50_000);
    expect(native.uncache(fd, 0, 2 ** 53 - 1)).toBe(0);
    expect(native.uncache(fd, 4096, 8192)).toBe(0);
    fs.closeSync(fd);
    const content = Buffer.alloc(100_000, 1).fill(2, 50_000, 50_010);
    expect(fs.readFileSync(file).equals(content)).toBe(true);
  });

  test("flushes a file system beside the event loop", async () => {
    const fd = fs.openSync(tempFolder(), "r");
    expect(await native.flushFileSystem(fd)).toBe(0);
    fs.closeSync(fd);
    expect(await native.flushFileSystem(-1)).toBe(-EBADF);
  });

  test("reads nothing where its room was taken away, and tells", () => {
    const script = `
      const native = require(${JSON.stringify(BINARY)});
      const udp = new native.Udp();
      udp.bind("127.0.0.1", 0, 0);
      structuredClone(native.room(), { transfer: [native.room()] });
      udp.sendTo(new Uint8Array(9), 9, ...udp.address());
      udp.start((from, to, read) => { process.stdout.write(String(read)); udp.close(); });`;
    const output = execFileSync(process.execPath, ["-e", script], { encoding: "utf8" });
    expect(Number(output)).toBe(-constants.errno.ENOBUFS);
  });

  test("an error of what it calls is an uncaught exception, and the socket lives on", () => {
    const script = `
      const native = require(${JSON.stringify(BINARY)});
      const udp = new native.Udp();
      native.room();
      udp.bind("127.0.0.1", 0, 0);
      const send = () => udp.sendTo(new Uint8Array(9), 9, ...udp.address());
      let calls = 0;
      process.on("uncaughtException", (error) => { process.stdout.write(error.message + " "); send(); });
      udp.start((from, to, read) => {
        if (++calls === 1) throw new Error("told");
        udp.close();
        process.stdout.write(String(read));
      });
      send();`;
    expect(execFileSync(process.execPath, ["-e", script], { encoding: "utf8" })).toBe("told 1");
  });

  test("sockets that nobody closed end with their worker, wherever it is stopped, and with the process", async () => {
    const script = `
      const { parentPort } = require("node:worker_threads");
      const native = require(${JSON.stringify(BINARY)});
      native.room();
      const sockets = Array.from({ length: 20 }, () => {
        const udp = new native.Udp();
        udp.bind("127.0.0.1", 0, 0);
        return udp;
      });
      // Some never start, some are closed already, some are in a callback.
      for (const udp of sockets.slice(0, 15)) udp.start(() => { parentPort.postMessage("called"); for (;;); });
      for (const udp of sockets.slice(10)) udp.close();
      new native.Udp();
      native.flushFileSystem(0);
      sockets[0].sendTo(new Uint8Array(9), 9, ...sockets[0].address());`;
    const before = fs.readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(script, { eval: true });
      await new Promise((resolve) => worker.once("message", resolve));
      await worker.terminate();
    }
    expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
    const main = script.replace('const { parentPort } = require("node:worker_threads");', "").replace("for (;;);", "");
    execFileSync(process.execPath, ["-e", main.replace('parentPort.postMessage("called");', "process.exit();")]);
  });

  test("what is not started is collected, and closed", () => {
    const script = `
      const fs = require("node:fs");
      const native = require(${JSON.stringify(BINARY)});
      const count = () => fs.readdirSync("/proc/self/fd").length;
      const before = count();
      for (let i = 0; i < 100; i++) new native.Udp().bind("127.0.0.1", 0, 0);
      const during = count();
      gc();
      setImmediate(() => process.stdout.write(during - before + " " + (count() - before)));`;
    const output = execFileSync(process.execPath, ["--expose-gc", "-e", script], { encoding: "utf8" });
    const [made, left] = output.split(" ").map(Number);
    expect(made).toBe(100);
    // One or two are where the collector does not look.
    expect(left).toBeLessThan(10);
  });
});

function detached(): Uint8Array {
  const bytes = new Uint8Array(100);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

function shrunk(): Uint8Array {
  const buffer = Reflect.construct(ArrayBuffer, [100, { maxByteLength: 200 }]);
  const bytes = new Uint8Array(buffer, 50, 50);
  buffer.resize(10);
  return bytes;
}
