/** Nobody else can have a server's port, at any moment: not between the sockets that it opens, and not beside them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import type net from "node:net";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { isAtLeast } from "../../../../src/stream/datagram/reuse-port.js";
import { connect, createServer } from "../../../../src/stream/index.js";
import { tempFolder } from "../../../support/sync-rig.js";

/** Binds with every combination of options, again and again, until it is told to stop; prints what succeeded, and how often it tried. */
const THIEF = `
import socket, sys, select
port, host = int(sys.argv[1]), sys.argv[2]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
options = [[], [socket.SO_REUSEADDR], [socket.SO_REUSEPORT], [socket.SO_REUSEADDR, socket.SO_REUSEPORT]]
options = options if sys.argv[3] == "all" else options[:2]
print("ready", flush=True)
tries, taken, stopped = 0, [], False
while not stopped and not taken:
    for wanted in options:
        thief = socket.socket(family, socket.SOCK_DGRAM)
        try:
            for option in wanted:
                thief.setsockopt(socket.SOL_SOCKET, option, 1)
            thief.bind((host, port))
            taken.append(wanted)
        except OSError:
            pass
        thief.close()
        tries += 1
    stopped = bool(select.select([sys.stdin], [], [], 0)[0])
print("taken" if taken else "not taken", tries, flush=True)
`;

const NOBODY = 65_534;

/** `uid`: who the other program is. */
async function startThief(port: number, host: string, uid: number | undefined) {
  const folder = tempFolder();
  const script = path.join(folder, "thief.py");
  writeFileSync(script, THIEF);
  chmodSync(folder, 0o755);
  const user = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn("python3", [script, String(port), host, uid === undefined ? "mine" : "all"], {
    ...user,
    cwd: "/",
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  // Who has succeeded is gone already.
  child.stdin.on("error", () => {});
  const closed = once(child, "close");
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  while (!output.includes("ready")) await once(child.stdout, "data");
  return async (): Promise<string> => {
    child.stdin.write("stop\n");
    await closed;
    return output.replace("ready\n", "");
  };
}

/** Root can be somebody else; every user can try what has nothing to do with who it is. */
const others: [string, number | undefined][] = [["another program of this user, by SO_REUSEADDR", undefined]];
if (process.getuid?.() === 0) others.push(["another user's program, by any option", NOBODY]);

const hosts = ["127.0.0.1", "0.0.0.0"];
if (Object.values(os.networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1")))
  hosts.push("::");

describe.each(others)("%s", (_, uid) => {
  describe.each(["segmented", "descriptor", "dgram"] as const)("takes no port of a server with the tier %s", (tier) => {
    test.each(hosts)("that listens on %s", async (host) => {
      const server = createServer({ tier, extended: true }, (socket) =>
        socket
          .on("error", () => {})
          .resume()
          .end("x"),
      );
      server.listen(0, host);
      await once(server, "listening");
      onTestFinished(() => void server.close());
      const { port } = server.address() as net.AddressInfo;
      const stop = await startThief(port, host, uid);
      for (let round = 0; round < 60; round++) {
        const client = connect({ port, host: host === "::" ? "::1" : "127.0.0.1", extended: true });
        client.resume().end("hello");
        await once(client, "close");
      }
      expect(await stop()).toMatch(/^not taken \d+\n$/);
    });
  });
});

test("a second server of the same user is told that the port is in use, whatever the tiers are and though it would share", async () => {
  for (const tier of ["segmented", "descriptor", "dgram"] as const) {
    for (const host of ["127.0.0.1", "0.0.0.0"]) {
      const server = createServer({ tier });
      server.listen(0, host);
      await once(server, "listening");
      const { port } = server.address() as net.AddressInfo;
      for (const other of ["segmented", "descriptor", "dgram"] as const) {
        for (const reusePort of [false, true]) {
          const second = createServer({ tier: other });
          second.listen({ port, host, reusePort });
          const [error] = await once(second, "error");
          expect(error).toMatchObject({ code: "EADDRINUSE" });
        }
      }
      server.close();
    }
  }
});

test("versions of the kernel are compared as numbers", () => {
  expect(isAtLeast("5.4.0-1-amd64", 5, 4)).toBe(true);
  expect(isAtLeast("5.10.0", 5, 4)).toBe(true);
  expect(isAtLeast("6.1", 5, 4)).toBe(true);
  expect(isAtLeast("4.18.0-553.el8", 5, 4)).toBe(false);
  expect(isAtLeast("5.3.18", 5, 4)).toBe(false);
  expect(isAtLeast("what", 5, 4)).toBe(false);
});
