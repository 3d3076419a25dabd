/** What the programs say, and how they end. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, vi } from "vitest";
import { tell } from "../../support/mirrored.js";
import { onTerminal, REPOSITORY, test, until } from "../../support/program.js";

vi.setConfig({ testTimeout: 90_000 });

const BIN = path.join(REPOSITORY, "bin/confundo.js");

test.runIf(process.platform === "linux")(
  "too few descriptors to load the program are said in one line",
  async ({ rig }) => {
    // Node itself takes about 20.
    const via = ["sh", "-c", 'ulimit -n 22 && exec "$@"', "sh"];
    const { code, stderr } = await rig.run(["--version"], { via });
    expect(code).not.toBe(null);
    if (code !== 0) expect(stderr).toMatch(/^ERROR: .*ulimit -n.*\(EMFILE\)\n$/);
  },
);

test.runIf(process.platform === "linux")("too few descriptors to open the database are named", async ({ rig }) => {
  const via = ["sh", "-c", 'ulimit -n 25 && exec "$@"', "sh"];
  const server = rig.start(["serve", path.join(rig.folder(), "home"), "--port", "0", "--http", "127.0.0.1:0"], { via });
  await until(() => server.ended || server.stdout.includes("listening on"));
  if (server.ended) expect(server.stderr).toMatch(/^ERROR: .*ulimit -n.*\(E[A-Z_]+\)\n$/);
  else expect(await server.interrupt()).toMatchObject({ signal: null });
});

describe("signals", () => {
  tell([
    [
      "each of them ends a mirror that is followed in an orderly way, also when it comes twice at once, as through npm",
      async (m) => {
        m.write({ a: "1" });
        for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
          const following = await m.follow();
          following.program.child.kill(signal);
          expect(await following.program.kill(signal)).toMatchObject({ code: 0, signal: null, stderr: "" });
        }
      },
    ],
    [
      "a second one ends it at once, where the end takes its time",
      async (m) => {
        m.write({ a: "1" });
        const { server, port } = await m.rig.serve(path.join(m.rig.folder(), "home"));
        const program = m.rig.start(["mirror", m.folder, `confundo://127.0.0.1:${port}/m`]);
        await program.printed(/following/);
        // It is told nothing any more, and answers nothing.
        server.child.kill("SIGSTOP");
        program.child.kill("SIGTERM");
        const began = performance.now();
        // A second signal within 300 ms is the same one.
        await sleep(350);
        const waitedMs = performance.now() - began;
        const { code, signal } = await program.kill("SIGINT");
        // It leaves by itself after a second: on a busy machine this may have taken longer.
        expect([code, signal]).toEqual(waitedMs > 900 && signal === null ? [0, null] : [null, "SIGINT"]);
        server.child.kill("SIGCONT");
      },
    ],
    [
      "--once that is stopped has not done what it was asked for",
      async (m) => {
        m.write({ a: "1" });
        const { server, port } = await m.rig.serve(path.join(m.rig.folder(), "home"));
        server.child.kill("SIGSTOP");
        const program = m.rig.start(["mirror", m.folder, `confundo://127.0.0.1:${port}/m`, "--once", "--json"]);
        await program.printed(/"type":"connecting"/);
        expect(await program.interrupt()).toMatchObject({
          signal: "SIGINT",
          stderr: expect.stringMatching(/^ERROR: SIGINT came before the mirror was in sync/),
        });
        server.child.kill("SIGCONT");
      },
    ],
  ]);
});

describe("a server", () => {
  test
    .runIf(process.platform === "linux")
    .concurrent("with a home that cannot be says so, and ends", async ({ rig }) => {
      const file = path.join(rig.folder(), "file");
      fs.writeFileSync(file, "");
      const wrong = ["/proc/x", "/proc", "/dev/fd", "/dev/null", file, path.join(file, "x"), `/tmp/${"n".repeat(300)}`];
      for (const home of wrong) {
        const { code, signal, stdout, stderr } = await rig.run(["serve", home, "--port", "0", "--no-http"]);
        expect({ home, code, signal, stdout }).toEqual({ home, code: 1, signal: null, stdout: "" });
        expect(stderr).toMatch(/^ERROR: [^\n]+ \(E[A-Z]+\)\n$/);
      }
      expect(await rig.run(["receive", "0", "/proc/x"])).toMatchObject({
        code: 1,
        stderr: "ERROR: The folder /proc/x cannot be made there. Give another place. (ENOENT)\n",
      });
    });

  test.concurrent("on all addresses prints those that work", async ({ rig }) => {
    const { server, port } = await rig.serve(rig.folder(), "0", "--host", "0.0.0.0", "--http", "0.0.0.0:0");
    await server.printed(/try: /);
    const own = Object.values(os.networkInterfaces()).flatMap((each) => each ?? []);
    for (const { address, family } of own.filter((each) => !/^(fe80:|169\.254\.)/.test(each.address))) {
      expect(server.stdout.includes(`https://${address}:`)).toBe(family === "IPv4");
      expect(server.stdout.includes(` ${address}:${port}`)).toBe(family === "IPv4");
    }
    expect(server.stdout.split("listening on 0.0.0.0:").join("")).not.toContain("0.0.0.0");
    const [, address = ""] = /try: confundo mirror FOLDER (\S+)\/NAME/.exec(server.stdout) ?? [];
    const [, pairing = ""] = /pairing address: (\S+)/.exec(server.stdout) ?? [];
    const folder = rig.folder();
    fs.writeFileSync(path.join(folder, "a"), "1");
    const env = { XDG_STATE_HOME: rig.folder() };
    expect(await rig.run(["mirror", folder, `${address}/m`, "--once"])).toMatchObject({ code: 0, stderr: "" });
    expect(await rig.run(["mirror", folder, pairing, "--once"], { env })).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("a mirror", () => {
  tell([
    [
      "that is in sync is said to be followed, and how to stop that; and the server's lines have times",
      async (m) => {
        m.write({ a: "1" });
        const { server, port } = await m.rig.serve(path.join(m.rig.folder(), "home"));
        const program = m.rig.start(["mirror", m.folder, `confundo://127.0.0.1:${port}/m`]);
        await program.printed(/^synced: 1 files.*\nfollowing \S+: .*Ctrl-C stops it\n/m);
        m.write({ b: "1" });
        await program.printed(/sent {5}b\nsynced/);
        expect(program.stdout.match(/following/g)).toHaveLength(1);
        await program.interrupt();
        await server.printed(/has disconnected/);
        const lines = server.stdout.slice(server.stdout.indexOf("try: ")).trimEnd().split("\n").slice(1);
        expect(lines.length).toBeGreaterThan(2);
        for (const line of lines) expect(line).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (m|127\.0\.0\.1):/);
        expect((await m.once("--timeout", "20s")).stdout).not.toContain("following");
      },
    ],
    [
      "whose server is absent ends after --timeout with --once, and says of whom there was no answer",
      async (m) => {
        const { code, stderr } = await m.rig.run([
          "mirror",
          m.folder,
          "confundo://127.0.0.1:9/m",
          "--once",
          "--timeout",
          "1s",
        ]);
        expect({ code, stderr }).toEqual({
          code: 1,
          stderr: expect.stringMatching(/^ERROR: .*127\.0\.0\.1:9.*\(ERR_CONNECT\)\n$/),
        });
      },
    ],
    [
      "that is on hold is mentioned once at either end, however often it is tried",
      async (m) => {
        m.write({ a: "1" });
        const home = path.join(m.rig.folder(), "home");
        const { server, port } = await m.rig.serve(home);
        const program = m.rig.start(["mirror", m.folder, `confundo://127.0.0.1:${port}/m`]);
        await program.printed(/following/);
        expect(await m.rig.run(["restore", "m", ".", "--at", "1s", "--dir", home])).toMatchObject({ code: 0 });
        await program.printed(/ERR_FOLDER_HELD/);
        // Attempts are 0.25, 0.5, 1 and 2 s apart.
        await sleep(3000);
        expect(await m.rig.run(["resume", "m", "--dir", home])).toMatchObject({ code: 0 });
        await program.printed(/connected again/);
        expect(await program.interrupt()).toMatchObject({ code: 0 });
        expect(program.stderr.match(/ERR_FOLDER_HELD/g)).toHaveLength(1);
        await server.printed(/has disconnected/);
        expect(server.stdout.match(/ERR_FOLDER_HELD/g)).toHaveLength(1);
      },
    ],
  ]);
});

describe.runIf(process.platform === "linux")("on a terminal", () => {
  test.concurrent("the closing line of send stands", async ({ rig }) => {
    const [file, dir] = [path.join(rig.folder(), "file"), rig.folder()];
    fs.writeFileSync(file, Buffer.alloc(3_000_000, 1));
    const { port } = await rig.receive(dir);
    const terminal = rig.spawn(
      "script",
      onTerminal([process.execPath, BIN, "send", "127.0.0.1", port, file, "--extended"]),
    );
    const { code, stdout } = await terminal.exited;
    expect(code).toBe(0);
    expect(stdout).toMatch(/sent 2\.9 MiB to 127\.0\.0\.1:\d+ in [\d.]+ s\r\n$/);
  });
});
