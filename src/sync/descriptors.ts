/** File descriptors: how many this process may use for files, and what is said where they run out. */
import { readdirSync, readFileSync } from "node:fs";
import { SyncError } from "./errors.js";
import { RESERVED_DESCRIPTORS } from "./limits.js";

let limit: number | undefined;

/** This many open files of a process are allowed; undefined where the system does not say. Read once: that takes a descriptor. */
export function descriptorLimit(): number | undefined {
  limit ??= readLimit();
  return limit;
}

function readLimit(): number | undefined {
  try {
    const [, soft = ""] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === "" ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

let spare: number | undefined;

/** A part of the descriptors that were free when this was called first, at least 1 and at most `most`. */
export function descriptorBudget(most: number, share: number): number {
  spare ??= spareDescriptors();
  return Math.max(1, Math.min(most, Math.floor(spare * share)));
}

function spareDescriptors(): number {
  const most = descriptorLimit();
  if (most === undefined) return Number.POSITIVE_INFINITY;
  try {
    return most - readdirSync("/proc/self/fd").length - RESERVED_DESCRIPTORS;
  } catch {
    return 0;
  }
}

const EXHAUSTED: ReadonlySet<string> = new Set(["EMFILE", "ENFILE"]);

/** Whether an error says that there are no descriptors left, which passes by itself. */
export function isExhausted({ code }: { readonly code: string }): boolean {
  return EXHAUSTED.has(code);
}

/** Names the side that ran out of descriptors, its limit and what raises it; other errors as they are. */
export function explained(error: SyncError, side: "client" | "server"): SyncError {
  if (!isExhausted(error)) return error;
  const most = descriptorLimit();
  const here = `the ${side} has as many files open as it may have${most === undefined ? "" : ` (${most})`}`;
  const system = `the machine of the ${side} has as many files open as it can have; sysctl fs.file-max allows more`;
  const message = error.code === "EMFILE" ? `${here}; ulimit -n allows more` : system;
  const path = error.path === undefined ? {} : { path: error.path };
  return new SyncError(error.code, message, { cause: error, ...path });
}

/** Descriptors that SQLite may need for one database besides those that are open: itself, its log, the log's index, a folder. */
const SQLITE_DESCRIPTORS = 4;

/** What to say with an error that does not tell its reason, where this process has hardly a descriptor left. */
export function exhaustionHint(): string | undefined {
  const taken = openDescriptors();
  const most = descriptorLimit();
  if (taken + SQLITE_DESCRIPTORS < (most ?? Number.POSITIVE_INFINITY)) return undefined;
  return `the server has as many files open as it may have${most === undefined ? "" : ` (${most})`}; ulimit -n allows more`;
}

function openDescriptors(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch (error) {
    // Even that takes one.
    return EXHAUSTED.has((error as NodeJS.ErrnoException).code ?? "") ? Number.POSITIVE_INFINITY : 0;
  }
}
