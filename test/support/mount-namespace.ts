/** Programs in mount namespaces of their own, in which disks and folders can be mounted without harm to others. */
import { execFileSync, spawnSync } from "node:child_process";
import type { Mirrored } from "./mirrored.js";
import type { Program } from "./program.js";

const IS_ROOT = process.getuid?.() === 0;
/** Others than root need a user namespace, too. */
const UNSHARE = ["unshare", IS_ROOT ? "-m" : "-rm"];

/** Tells whether this system lets us make such namespaces. */
export function mayUnshare(): boolean {
  const [file = "", ...args] = UNSHARE;
  return process.platform === "linux" && spawnSync(file, [...args, "true"]).status === 0;
}

/** What starts a program in a namespace in which `from` is mounted at `at`, too. */
export function bound(from: string, at: string): string[] {
  return [...UNSHARE, "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", from, at];
}

/** Starts a follower in a mount namespace of its own, in which disks can be mounted. */
export async function followWithMounts(
  m: Mirrored,
): Promise<{ program: Program; mount: (...args: string[]) => void; inside: string }> {
  const via = [...UNSHARE, "--propagation", "private"];
  const program = m.rig.start(["mirror", m.folder, m.address, "--json"], { via });
  await program.printed(/"type":"synced"/);
  const pid = String(program.child.pid);
  const enter = ["-t", pid, "-m", ...(IS_ROOT ? [] : ["-U", "--preserve-credentials"])];
  return {
    program,
    inside: `/proc/${pid}/root${m.folder}`,
    mount: (...args) => void execFileSync("nsenter", [...enter, ...args]),
  };
}
