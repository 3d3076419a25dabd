import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { addon } from "../../../../src/native/addon.js";
import { PATIENCE_MS } from "../../../support/limits.js";

/** The numbers of system calls, by machine (asm/unistd.h). */
const NUMBERS: Record<string, Record<string, number>> = {
  x64: { recvmmsg: 299, sendmmsg: 307, recvmsg: 47 },
  arm64: { recvmmsg: 243, sendmmsg: 269, recvmsg: 212 },
};
const numbers = NUMBERS[process.arch] ?? {};
const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);
const folder = mkdtempSync(path.join(tmpdir(), "confundo-seccomp-"));
afterAll(() => rmSync(folder, { recursive: true }));
const denier = compiled();

/** Null where there is no compiler, or no seccomp. */
function compiled(): string | null {
  if (process.platform !== "linux" || compiler === undefined || addon() === null) return null;
  const program = path.join(folder, "deny-syscalls");
  execFileSync(compiler, ["-O1", "-o", program, path.resolve("test/support/deny-syscalls.c")]);
  return spawnSync(program, ["9999", "--", "true"]).status === 0 ? program : null;
}

function run(denied: readonly string[], script: string): unknown {
  const flags = denied.map((name) => String(numbers[name]));
  const output = execFileSync(
    denier as string,
    [...flags, "--", process.execPath, "--input-type=module", "-e", script],
    { encoding: "utf8", timeout: PATIENCE_MS },
  );
  return JSON.parse(output);
}

/** A megabyte to and fro, and the processor time that half a second of waiting takes. */
const ECHO = `
  import { once } from "node:events";
  import { connect, createServer } from ${JSON.stringify(path.resolve("dist/index.js"))};
  const server = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect(server.address().port, "127.0.0.1");
  socket.end(Buffer.alloc(1_000_000, "abc"));
  const echoed = Buffer.concat(await socket.toArray());
  const idle = connect(server.address().port, "127.0.0.1");
  await once(idle, "connect");
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(before);
  const { tier } = idle.stats;
  console.log(JSON.stringify({ whole: echoed.equals(Buffer.alloc(1_000_000, "abc")), tier, idleMs: (user + system) / 1000 }));
  process.exit();`;

describe.skipIf(denier === null)("where a seccomp filter refuses system calls", () => {
  test.each([[["recvmmsg"]], [["sendmmsg"]], [["recvmmsg", "sendmmsg"]]])("without %j all goes on", (denied) => {
    const { whole, tier, idleMs } = run(denied, ECHO) as { whole: boolean; tier: string; idleMs: number };
    expect([whole, tier]).toEqual([true, "segmented"]);
    // A loop that reads in vain takes all of it.
    expect(idleMs).toBeLessThan(250);
  });

  test("where nothing can be read at all, binding reports it", () => {
    const script = `
      import { addon } from ${JSON.stringify(path.resolve("src/native/addon.ts"))};
      const udp = new (addon()).Udp();
      console.log(JSON.stringify(udp.bind("127.0.0.1", 0, 0)));`;
    expect(run(["recvmmsg", "recvmsg"], script)).toBe(-1);
  });
});
