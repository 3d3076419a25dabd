import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type ConfundoSocket, connect, createServer } from "../../src/index.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Runs a program of the built package in a process of its own, and gives what it prints. */
async function run(script: string): Promise<string> {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { cwd: ROOT });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return output + errors;
}

describe.each(["auto", "descriptor", "dgram"] as const)("several servers on one port (%s)", (tier) => {
  it.each(["127.0.0.1", "0.0.0.0"])("share it with reusePort at %s, and keep their clients", async (host) => {
    const greet = (name: string) => (socket: ConfundoSocket) => {
      socket.write(name);
      socket.on("error", () => {});
      socket.on("data", () => socket.write(name));
    };
    const first = createServer({ tier }, greet("a")).listen({ port: 0, host, reusePort: true });
    const port = first.address()?.port ?? 0;
    const clients = Array.from({ length: 24 }, () => connect(port, "127.0.0.1"));
    const names = await Promise.all(clients.map(async (client) => String((await once(client, "data"))[0])));
    expect(names.every((name) => name === "a")).toBe(true);
    // Another process would change what the kernel hashes to whom: open connections must not notice.
    const second = createServer({ tier }, greet("b")).listen({ port, host, reusePort: true });
    await once(second, "listening");
    const late = Array.from({ length: 24 }, () => connect(port, "127.0.0.1"));
    const lateNames = await Promise.all(late.map(async (client) => String((await once(client, "data"))[0])));
    expect(new Set(lateNames)).toEqual(new Set(["a", "b"]));
    if (tier !== "dgram") {
      for (const client of clients) client.write("still there?");
      await Promise.all(clients.map((client) => once(client, "data")));
    }
    for (const client of [...clients, ...late]) client.on("error", () => {}).resetAndDestroy();
    await Promise.all([first[Symbol.asyncDispose](), second[Symbol.asyncDispose]()]);
  });

  it("are refused without it", async () => {
    const first = createServer({ tier }).listen({ port: 0, host: "127.0.0.1", reusePort: true });
    const second = createServer({ tier }).listen(first.address()?.port, "127.0.0.1");
    const [error] = await once(second, "error");
    expect(error).toMatchObject({ code: "EADDRINUSE", syscall: "listen" });
    await first[Symbol.asyncDispose]();
  });
});

describe("node:cluster", () => {
  it("a second worker without reusePort is told about it", async () => {
    const output = await run(`
      import cluster from "node:cluster";
      import { once } from "node:events";
      import { createServer } from "confundo";
      if (cluster.isPrimary) {
        cluster.setupPrimary({ exec: "test/support/cluster-worker.js", execArgv: [] });
        const first = cluster.fork({ PORT: "0" });
        const [port] = await once(first, "message");
        const second = cluster.fork({ PORT: String(port) });
        console.log((await once(second, "message"))[0]);
        first.kill();
        second.kill();
      }`);
    expect(output).toMatch(/^listen EADDRINUSE 127\.0\.0\.1:\d+: .*listen\(\{ port, reusePort: true \}\)\.\n$/);
  });
});
