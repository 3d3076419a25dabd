/** Reads of what may be missing or unreadable, which then counts as empty. */
import fs from "node:fs";

/** The names in a directory. */
export function listOrNothing(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

/** The lines of a file in UTF-8 that are not empty. */
export function linesOrNothing(file: string): string[] {
  try {
    return fs.readFileSync(file, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}
