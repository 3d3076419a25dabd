/** Tells one run of the machine from another. */
import { readFileSync } from "node:fs";
import { uptime } from "node:os";

/** Where the system does not name its runs, they are told apart by when they began, to this. */
const STARTED_TO_MS = 10 * 60_000;

/** The same until the machine starts again, by whatever program. Of Linux: random_id(4), `boot_id`. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return `started ${Math.round((Date.now() - uptime() * 1000) / STARTED_TO_MS)}`;
  }
}
