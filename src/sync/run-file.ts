/**
 * Which run of a program mirrors a folder, kept beside its index: so that the next run can tell the server that the one
 * before has ended (was killed, say), and need not wait until the server finds out. It only ever saves time.
 */
import fs from "node:fs";
import { dirname } from "node:path";
import { makeFolder } from "../files/make-folder.js";
import { systemCode } from "./errors.js";

interface Run {
  readonly instanceId: string;
  readonly pid: number;
  /** Tells a process from a later one of the same number, where the system says. */
  readonly started: string;
  /** Of this start of the machine, and of what counts its processes. */
  readonly machine: string;
}

export class RunFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** The instance id of the run that was last, if its process has certainly ended. */
  ended(): string | undefined {
    const run = this.#read();
    return run !== undefined && hasEnded(run) ? run.instanceId : undefined;
  }

  /** This process mirrors the folder now. */
  claim(instanceId: string): void {
    const { pid } = process;
    const run: Run = { instanceId, pid, started: startOf(pid) ?? "", machine: machine() };
    const beside = `${this.#path}.${pid}.new`;
    try {
      makeFolder(dirname(this.#path), 0o700);
      fs.writeFileSync(beside, JSON.stringify(run), { mode: 0o600 });
      fs.renameSync(beside, this.#path);
    } catch {
      // Then the next run waits.
      fs.rmSync(beside, { force: true });
    }
  }

  #read(): Run | undefined {
    try {
      const run = JSON.parse(fs.readFileSync(this.#path, "utf8")) as Partial<Run>;
      const { instanceId, pid, started, machine } = run;
      const sound = typeof instanceId === "string" && instanceId.length <= 64 && Number.isSafeInteger(pid);
      return sound && typeof started === "string" && typeof machine === "string" ? (run as Run) : undefined;
    } catch {
      return undefined;
    }
  }
}

function hasEnded(run: Run): boolean {
  const [boot, namespace] = run.machine.split(" ");
  const [ourBoot, ourNamespace] = machine().split(" ");
  if (boot !== ourBoot) return boot !== "" && ourBoot !== "";
  if (namespace !== ourNamespace) return false;
  try {
    process.kill(run.pid, 0);
  } catch (error) {
    return systemCode(error) === "ESRCH";
  }
  const started = startOf(run.pid);
  return started !== undefined && run.started !== "" && started !== run.started;
}

/** When a process was started, in the system's own counting (proc(5), field 22); undefined where it does not say. */
function startOf(pid: number): string | undefined {
  const stat = readOrNothing(() => fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  // The name of the program, in parentheses, may hold anything.
  return stat === "" ? undefined : stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function machine(): string {
  const boot = readOrNothing(() => fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());
  return `${boot} ${readOrNothing(() => fs.readlinkSync("/proc/self/ns/pid"))}`;
}

function readOrNothing(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
