/** What a mirror has lost lately, kept beside the index over restarts: many short runs count as one long one. */
import fs from "node:fs";
import { replaceFile } from "../files/replace-file.js";
import { MAX_REMEMBERED_FRESH, MAX_REMEMBERED_LOSSES } from "./limits.js";

/** Times are milliseconds since 1970. */
export interface LossState {
  /** Path, time, what tells the file from others, and whether it had come within the window. The oldest first. */
  readonly losses: readonly (readonly [path: string, at: number, key: string | null, fresh: boolean])[];
  /** Losses that are counted and not listed. */
  readonly more: number;
  /** Files that have come within the window, the oldest first. */
  readonly fresh: readonly (readonly [path: string, at: number])[];
  readonly additions: readonly (readonly [at: number, files: number])[];
}

export class LossMemory {
  /** Whether an earlier run has mirrored this folder, so that what is new there has come since. */
  readonly continues: boolean;
  readonly #file: string;
  #written: string | undefined;

  constructor(file: string, continues: boolean) {
    this.#file = file;
    this.continues = continues;
  }

  /** What was written last; nothing where that cannot be read or is damaged. */
  read(): LossState | undefined {
    try {
      const value: unknown = JSON.parse(fs.readFileSync(this.#file, "utf8"));
      return isState(value) ? value : undefined;
    } catch {
      return undefined;
    }
  }

  write({ losses, more, fresh, additions }: LossState): void {
    const text = JSON.stringify({
      losses: losses.slice(0, MAX_REMEMBERED_LOSSES),
      more: more + Math.max(0, losses.length - MAX_REMEMBERED_LOSSES),
      fresh: fresh.slice(-MAX_REMEMBERED_FRESH),
      additions,
    });
    if (text === this.#written) return;
    // Where it cannot be written, the next run counts from where it begins.
    if (replaceFile(this.#file, text)) this.#written = text;
  }
}

function isState(value: unknown): value is LossState {
  const { losses, more, fresh, additions } = (value ?? {}) as Record<string, unknown>;
  const rows = (list: unknown, types: readonly string[]): boolean =>
    Array.isArray(list) &&
    list.every((row) => Array.isArray(row) && types.every((type, i) => type.split("|").includes(kindOf(row[i]))));
  return (
    Number.isSafeInteger(more) &&
    Number(more) >= 0 &&
    rows(losses, ["string", "number", "string|null", "boolean"]) &&
    rows(fresh, ["string", "number"]) &&
    rows(additions, ["number", "number"])
  );
}

function kindOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}
