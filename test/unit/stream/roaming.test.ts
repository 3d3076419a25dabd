import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, test } from "vitest";
import { PATIENCE_MS } from "../../support/limits.js";

/** Two network namespaces joined by a cable, where this may make them: as root on Linux. */
const names = [`cfd-a-${process.pid}`, `cfd-b-${process.pid}`] as const;
const ip = (...args: string[]): boolean => spawnSync("ip", args, { stdio: "ignore" }).status === 0;
const INDEX = path.resolve("dist/index.js");

function joined(): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const [a, b] = names;
  const made =
    ip("netns", "add", a) &&
    ip("netns", "add", b) &&
    ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b);
  if (!made) separate();
  return made;
}

function separate(): void {
  for (const name of names) ip("netns", "del", name);
}

const canJoin = joined();
if (canJoin) separate();

const SERVER = `
  import { createServer } from ${JSON.stringify(INDEX)};
  const server = createServer((socket) => {
    socket.on("error", (error) => console.log("error", error.code));
    socket.pipe(socket);
  });
  server.listen(7000, "0.0.0.0", () => console.log("listening"));`;

type Change = "the old one goes" | "nothing answers the old one";

/** How the address changes: with a refusal by the kernel, or without a word. */
const COMMANDS: Record<Change, readonly string[]> = {
  "the old one goes": ["addr flush dev cable", "addr add 10.9.0.3/24 dev cable"],
  "nothing answers the old one": [
    `-n ${names[1]} route add blackhole 10.9.0.1/32`,
    "addr add 10.9.0.3/24 dev cable",
    "route replace 10.9.0.0/24 dev cable src 10.9.0.3",
  ],
};

/** Sends and receives 20 MB, changes the address of this machine when a quarter has come back, and reports. */
const client = (tier: string, change: Change): string => `
  import { execFileSync } from "node:child_process";
  import { connect } from ${JSON.stringify(INDEX)};
  const bytes = Buffer.alloc(20_000_000, "confundo");
  const socket = connect({ host: "10.9.0.2", port: 7000, tier: ${JSON.stringify(tier)} });
  let got = 0;
  let changed = false;
  const before = [];
  socket.on("connect", () => before.push(socket.localAddress));
  socket.on("data", (chunk) => {
    got += chunk.length;
    if (changed || got < 5_000_000) return;
    changed = true;
    for (const line of ${JSON.stringify(COMMANDS[change])}) execFileSync("ip", line.split(" "));
  });
  socket.on("error", (error) => { console.log(JSON.stringify({ error: error.message })); process.exit(); });
  socket.on("end", () => { console.log(JSON.stringify({ got, before, after: socket.localAddress })); process.exit(); });
  socket.end(bytes);`;

describe.skipIf(!canJoin)("a client whose address changes in the middle", () => {
  afterEach(separate);

  test.each(
    (["segmented", "descriptor", "dgram"] as const).flatMap((tier) => [
      [tier, "the old one goes"] as const,
      [tier, "nothing answers the old one"] as const,
    ]),
  )("goes on from the new one (tier %s, %s)", async (tier, change) => {
    expect(joined()).toBe(true);
    for (const [index, name] of names.entries()) {
      ip("-n", name, "addr", "add", `10.9.0.${index + 1}/24`, "dev", "cable");
      ip("-n", name, "link", "set", "cable", "up");
      ip("-n", name, "link", "set", "lo", "up");
    }
    const inside = (name: string, script: string): string[] => [
      "netns",
      "exec",
      name,
      process.execPath,
      "--input-type=module",
      "-e",
      script,
    ];
    const server = spawn("ip", inside(names[1], SERVER), { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(createInterface({ input: server.stdout }), "line");
      const output = execFileSync("ip", inside(names[0], client(tier, change)), {
        encoding: "utf8",
        timeout: PATIENCE_MS,
      });
      expect(JSON.parse(output)).toEqual({ got: 20_000_000, before: ["10.9.0.1"], after: "10.9.0.3" });
    } finally {
      server.kill();
    }
  });
});
