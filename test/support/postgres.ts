/** A PostgreSQL of its own in a temporary folder, reached by a Unix socket: no port, no network, no other user's data. */
import { execFile } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";

const run = promisify(execFile);
/** Where Debian and others keep the programs that are not on everybody's path. */
const INSTALLED = "/usr/lib/postgresql";

export interface Postgres {
  /** Resolves to its address. */
  createDatabase(name: string): Promise<string>;
  /** Ends it at once, as a crash would; {@link start} brings it back. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** For good: its data are removed. */
  stop(): Promise<void>;
}

/** Whether its programs are there. Throws where they have to be (CONFUNDO_REQUIRE_POSTGRES=1) and are not. */
export function hasPostgres(): boolean {
  if (programs() !== undefined) return true;
  if (process.env.CONFUNDO_REQUIRE_POSTGRES === "1")
    throw new Error("initdb and pg_ctl of PostgreSQL are not installed");
  return false;
}

export async function startPostgres(): Promise<Postgres> {
  const bin = programs();
  if (bin === undefined) throw new Error("PostgreSQL is not installed");
  const dir = mkdtempSync(join(tmpdir(), "pg-"));
  const data = join(dir, "data");
  const user = await ordinaryUser(dir);
  const call = (program: string, ...args: string[]) => {
    const command = [join(bin, program), ...args];
    const [file, ...rest] =
      user === undefined
        ? command
        : ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", ...command];
    return run(file as string, rest, { cwd: dir, env: { ...process.env, LC_ALL: "C.UTF-8", PGUSER: "confundo" } });
  };
  const settings = `-c listen_addresses='' -c unix_socket_directories='${dir}' -c fsync=off -c max_connections=60`;
  const start = async (): Promise<void> => {
    await call("pg_ctl", "start", "-w", "-s", "-D", data, "-l", join(dir, "log"), "-o", settings);
  };
  const stop = (mode: string) => call("pg_ctl", "stop", "-w", "-s", "-D", data, "-m", mode);
  await call("initdb", "-D", data, "-U", "confundo", "-A", "trust", "-E", "UTF8", "--no-sync");
  await start();
  const address = (name: string): string => `postgres://confundo@localhost/${name}?host=${encodeURIComponent(dir)}`;
  return {
    createDatabase: async (name) => {
      const client = new pg.Client(address("postgres"));
      await client.connect();
      await client.query(`create database ${name}`);
      await client.end();
      return address(name);
    },
    kill: async () => void (await stop("immediate")),
    start,
    stop: async () => {
      await stop("immediate").catch(() => {});
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function programs(): string | undefined {
  const versions = existsSync(INSTALLED) ? readdirSync(INSTALLED).map((name) => join(INSTALLED, name, "bin")) : [];
  const places = [...versions, ...(process.env.PATH ?? "").split(delimiter)];
  return places.find((place) => existsSync(join(place, "initdb")) && existsSync(join(place, "pg_ctl")));
}

/** PostgreSQL refuses to run as root: then it runs as another user, who gets the folder. */
async function ordinaryUser(dir: string): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const name = await run("id", ["-u", "postgres"]).then(
    () => "postgres",
    () => "nobody",
  );
  const number = async (option: string) => Number((await run("id", [option, name])).stdout);
  const user = { uid: await number("-u"), gid: await number("-g") };
  chownSync(dir, user.uid, user.gid);
  return user;
}
