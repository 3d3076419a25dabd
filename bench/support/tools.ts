/** Programs that keep a folder mirrored, each through its own server, as bench/mirror.ts runs them. */
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort, type Place } from "./place.js";

const PROGRAM = fileURLToPath(new URL("../../bin/confundo.js", import.meta.url));

/** What a program offers once its server runs. */
export interface Running {
  /** Starts a client that brings the destination in line; resolves when it has ended, or there is none that ends. */
  once?(): Promise<void>;
  /** As `once`, as a child that can be killed. */
  begin?(): ChildProcess;
  /** Begins to follow; resolves when changes are noticed from here on. The child, to look at. */
  follow?(): Promise<ChildProcess>;
}

export interface Tool {
  readonly name: string;
  /** What is on disk, not only in memory, when it says that it is done. */
  readonly durability: string;
  /** What has to be installed. */
  readonly needs: readonly string[];
  /** Can only follow: to be measured from its start until the destination is there. */
  readonly followsOnly?: boolean;
  /** TCP's controller, where the wire lets one choose. */
  readonly congestion?: string;
  open(place: Place): Promise<Running>;
}

export const CONFUNDO: Tool = {
  name: "confundo",
  durability: "each file flushed before it is renamed into place, its folder before it is acknowledged",
  needs: [],
  async open(place) {
    const env = { XDG_STATE_HOME: place.state, XDG_CONFIG_HOME: place.state, XDG_DATA_HOME: place.state };
    const server = place.startServer(
      process.execPath,
      [PROGRAM, "serve", place.destination, "--no-http", "--port", "0", "--host", place.wire.host],
      env,
    );
    const port = await printed(server, /listening on \S+:(\d+)/);
    // Paired before anything is measured, by the way of two machines; the plan of an empty folder changes nothing.
    const [inviter = "", ...args] = [
      ...place.wire.server,
      process.execPath,
      PROGRAM,
      "invite",
      "m",
      "--dir",
      place.destination,
    ];
    const invited = execFileSync(inviter, args, { env: { ...process.env, ...env }, encoding: "utf8" });
    const code = /#([\w-]+)/.exec(invited)?.[1];
    const address = `confundo://${place.wire.host}:${port}/m`;
    const nothing = fs.mkdtempSync(path.join(place.state, "nothing-"));
    await place.runClient(process.execPath, [PROGRAM, "mirror", nothing, `${address}#${code}`, "--dry-run"], env);
    const to = [PROGRAM, "mirror", place.folder, address];
    return {
      once: () => place.runClient(process.execPath, [...to, "--once"], env),
      begin: () => place.startClient(process.execPath, [...to, "--once"], env),
      async follow() {
        const child = place.startClient(process.execPath, [...WITNESSED, ...to, "--json"], env);
        await printed(child, /"type":"(watching)"/);
        return child;
      },
    };
  },
};

/** Loaded into the client: says at its end how long its event loop stood still at most. */
const WITNESSED = [
  "--import",
  `data:text/javascript,${encodeURIComponent(`
    import { isMainThread } from "node:worker_threads";
    import { monitorEventLoopDelay } from "node:perf_hooks";
    import { writeSync } from "node:fs";
    const delay = monitorEventLoopDelay({ resolution: 5 });
    if (isMainThread) {
      delay.enable();
      process.on("exit", () => writeSync(2, "STALL " + delay.max / 1e6 + "\\n"));
    }`)}`,
];

function rsync(name: string, durability: string, options: readonly string[], congestion?: string): Tool {
  return {
    name,
    durability,
    needs: ["rsync"],
    ...(congestion === undefined ? {} : { congestion }),
    async open(place) {
      const to = await rsyncDaemon(place);
      const args = ["-a", "--delete", ...options, `${place.folder}/`, to];
      return { once: () => place.runClient("rsync", args), begin: () => place.startClient("rsync", args) };
    },
  };
}

async function rsyncDaemon(place: Place): Promise<string> {
  const port = await freePort();
  const config = path.join(place.state, "rsyncd.conf");
  const owner = process.getuid?.() === 0 ? "uid = root\ngid = root\n" : "";
  const module = `[all]\n  path = ${place.destination}\n  read only = no\n`;
  fs.writeFileSync(config, `use chroot = no\naddress = ${place.wire.host}\nreverse lookup = no\n${owner}${module}`);
  place.startServer("rsync", ["--daemon", "--no-detach", `--port=${port}`, `--config=${config}`]);
  await place.untilListening(port);
  fs.mkdirSync(place.copy, { recursive: true });
  return `rsync://${place.wire.host}:${port}/all/m/`;
}

function lsyncd(delay: number): Tool {
  return {
    name: `lsyncd, delay ${delay}`,
    durability: "as rsync: nothing flushed",
    needs: ["lsyncd", "rsync"],
    followsOnly: true,
    async open(place) {
      const to = await rsyncDaemon(place);
      const config = path.join(place.state, "lsyncd.lua");
      const status = path.join(place.state, "status");
      const settings = `settings { nodaemon = true, statusFile = "${status}", statusInterval = 1 }\n`;
      const sync = `sync { default.rsync, source = "${place.folder}", target = "${to}", delay = ${delay}, rsync = { archive = true } }\n`;
      fs.writeFileSync(config, settings + sync);
      return {
        async follow() {
          const child = place.startClient("lsyncd", [config]);
          while (!fs.existsSync(status)) await sleep(20);
          return child;
        },
      };
    },
  };
}

const UNISON: Tool = {
  name: "unison",
  durability: "nothing flushed",
  needs: ["unison"],
  async open(place) {
    const port = await freePort();
    const env = (side: string) => ({ UNISON: path.join(place.state, side), HOME: place.state });
    fs.mkdirSync(place.copy, { recursive: true });
    place.startServer("unison", ["-socket", String(port)], env("server"));
    await place.untilListening(port);
    const roots = [place.folder, `socket://${place.wire.host}:${port}/${place.copy}`];
    const options = [
      "-batch",
      "-auto",
      "-times",
      "-confirmbigdel=false",
      "-force",
      place.folder,
      "-dumbtty",
      "-ui",
      "text",
    ];
    return {
      once: () => place.runClient("unison", [...roots, ...options], env("client")),
      async follow() {
        const child = place.startClient("unison", [...roots, ...options, "-repeat", "1"], env("client"));
        await sleep(1000);
        return child;
      },
    };
  },
};

const RCLONE: Tool = {
  name: "rclone (sftp)",
  durability: "nothing flushed",
  needs: ["rclone"],
  async open(place) {
    const port = await freePort();
    const password = execFileSync("rclone", ["obscure", "bench"], { encoding: "utf8" }).trim();
    const at = `${place.wire.host}:${port}`;
    place.startServer("rclone", [
      "serve",
      "sftp",
      place.destination,
      "--addr",
      at,
      "--user",
      "bench",
      "--pass",
      "bench",
    ]);
    await place.untilListening(port);
    const to = `:sftp,host=${place.wire.host},port=${port},user=bench,pass="${password}":m`;
    return {
      once: () => place.runClient("rclone", ["sync", place.folder, to, "--transfers", "16", "--checkers", "16"]),
    };
  },
};

const SYNCTHING: Tool = {
  name: "syncthing",
  durability: "each file flushed before it is renamed into place",
  needs: ["syncthing"],
  followsOnly: true,
  async open(place) {
    fs.mkdirSync(place.copy, { recursive: true });
    fs.mkdirSync(path.join(place.folder, ".stfolder"), { recursive: true });
    fs.mkdirSync(path.join(place.copy, ".stfolder"), { recursive: true });
    const sides = await Promise.all(
      (["client", "server"] as const).map(async (side) => {
        const home = path.join(place.state, side);
        execFileSync("syncthing", ["generate", `--home=${home}`, "--no-default-folder"], { stdio: "ignore" });
        const id = execFileSync("syncthing", [`--home=${home}`, "--device-id"], { encoding: "utf8" }).trim();
        return { side, home, id, port: await freePort(), gui: await freePort() };
      }),
    );
    const devices = sides.map(({ id, side, port }) => ({
      id,
      address: `tcp://${side === "server" ? place.wire.host : "127.0.0.1"}:${port}`,
    }));
    for (const { home, side, port, gui } of sides) {
      const folder = side === "client" ? place.folder : place.copy;
      fs.writeFileSync(path.join(home, "config.xml"), syncthingConfig(folder, side, devices, port, gui));
    }
    const [client, server] = sides;
    // Without it, each is two processes, of which the one that matters outlives the other.
    const alone = { STMONITORED: "yes" };
    const args = (home = ""): string[] => ["serve", `--home=${home}`, "--no-browser", "--no-upgrade", "--no-restart"];
    place.startServer("syncthing", args(server?.home), alone);
    await place.untilListening(server?.port ?? 0);
    return {
      async follow() {
        const child = place.startClient("syncthing", args(client?.home), alone);
        await printed(child, /(Completed initial scan)/);
        return child;
      },
    };
  },
};

function syncthingConfig(
  folder: string,
  side: "client" | "server",
  devices: readonly { id: string; address: string }[],
  port: number,
  gui: number,
): string {
  const type = side === "client" ? "sendonly" : "receiveonly";
  const members = devices.map(({ id }) => `<device id="${id}"/>`).join("");
  const known = devices.map(
    ({ id, address }) => `<device id="${id}" compression="metadata"><address>${address}</address></device>`,
  );
  const off = [
    "globalAnnounceEnabled",
    "localAnnounceEnabled",
    "relaysEnabled",
    "natEnabled",
    "startBrowser",
    "crashReportingEnabled",
  ];
  return `<configuration version="36">
    <folder id="m" path="${folder}" type="${type}" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1">${members}
      <minDiskFree unit="%">0</minDiskFree></folder>
    ${known.join("")}
    <gui enabled="true" tls="false"><address>127.0.0.1:${gui}</address></gui>
    <options><listenAddress>tcp://0.0.0.0:${port}</listenAddress>${off.map((name) => `<${name}>false</${name}>`).join("")}
      <urAccepted>-1</urAccepted><reconnectionIntervalS>1</reconnectionIntervalS></options>
  </configuration>`;
}

export const RSYNC: Tool = rsync("rsync", "nothing flushed", []);
export const TOOLS: readonly Tool[] = [
  CONFUNDO,
  RSYNC,
  rsync("rsync --fsync", "each file flushed before it is renamed into place", ["--fsync"]),
  rsync("rsync --partial-dir", "nothing flushed", ["--partial-dir=.partial"]),
  UNISON,
  RCLONE,
  SYNCTHING,
  lsyncd(0),
  lsyncd(1),
];

export const RSYNC_OVER: readonly Tool[] = ["bbr", "cubic"].map((congestion) =>
  rsync(`rsync, TCP ${congestion.toUpperCase()}`, "nothing flushed", [], congestion),
);

/** What of its needs is missing. */
export function missing(tool: Tool): string | undefined {
  return tool.needs.find((need) => spawnSync("sh", ["-c", `command -v ${need}`]).status !== 0);
}

/** Resolves with the first group of the pattern, once the program has printed it. */
function printed(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const take = (text: Buffer): void => {
      said += text;
      const match = pattern.exec(said);
      if (match === null) return;
      child.stdout?.off("data", take);
      child.stderr?.off("data", take);
      resolve(match[1] ?? "");
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    child.once("exit", () => reject(new Error(`${child.spawnargs.slice(0, 6).join(" ")} ended: ${said.slice(-500)}`)));
  });
}

/** How long the client's event loop stood still at most, in milliseconds; it is ended for that. NaN: not ours. */
export async function stallMs(child: ChildProcess): Promise<number> {
  let said = "";
  child.stderr?.on("data", (text) => {
    said += text;
  });
  const closed = once(child, "close");
  child.kill("SIGTERM");
  await closed;
  return Number(/STALL ([\d.]+)/.exec(said)?.[1] ?? Number.NaN);
}
