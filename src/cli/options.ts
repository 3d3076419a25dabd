import { Option } from "commander";
import { DEFAULT_EDITION, EDITION_NAMES, type EditionName } from "../index.js";
import type { MaxDelete } from "../sync/index.js";
import { shownPath, UsageError } from "./report.js";

/** Where a mirror server listens unless told otherwise. */
export const DEFAULT_PORT = 5000;

/** Parses a port argument; `lowest` is 0 where 0 means "any free one". */
export function portParser(lowest: 0 | 1): (value: string) => number {
  return (value) => {
    const port = Number(value);
    if (!/^\d+$/.test(value) || port < lowest || port > 65_535) {
      throw new UsageError(`${shownPath(value)} is not a port here: that is a number from ${lowest} to 65535.`);
    }
    return port;
  };
}

/** Parses an argument that an empty string, as of a variable that is not set, must not pass for. `what` begins the sentence. */
export function notEmpty(what: string): (value: string) => string {
  return (value) => {
    if (value === "") throw new UsageError(`${what} is empty. Give one; a variable of the shell may be unset.`);
    return value;
  };
}

export function editionOption(): Option {
  return new Option("--edition <name>", "course edition to speak")
    .default(DEFAULT_EDITION)
    .argParser((value: string): EditionName => {
      if (!(EDITION_NAMES as readonly string[]).includes(value)) {
        throw new UsageError(
          `There is no edition ${shownPath(value)}. The known ones are ${EDITION_NAMES.join(", ")}.`,
        );
      }
      return value as EditionName;
    });
}

/** Parses bytes a second: a number with K, M or G (of 1024) behind it. */
export function parseRate(value: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMG]?)$/i.exec(value) ?? [];
  const rate = Math.round(Number(number) * 1024 ** " KMG".indexOf(unit === "" ? " " : unit.toUpperCase()));
  if (number === "" || rate < LEAST_RATE) {
    throw new UsageError(
      `${shownPath(value)} is not a bandwidth: that is bytes a second, such as 500K or 5M, and at least ${LEAST_RATE}.`,
    );
  }
  return rate;
}

/** As {@link parseRate}, or 0 for no limit. */
export function parseRewriteRate(value: string): number {
  return value === "0" ? 0 : parseRate(value);
}

/** Parses a whole number from 1 on. */
export function parseCount(value: string): number {
  if (/^[1-9]\d{0,8}$/.test(value)) return Number(value);
  throw new UsageError(`${shownPath(value)} is not a number from 1 on.`);
}

/** Parses like `parse`, and returns null for `none`. */
export function orNone<T>(parse: (value: string) => T): (value: string) => T | null {
  return (value) => (value === "none" ? null : parse(value));
}

/** Below this the signs of life alone would not get through in time. */
const LEAST_RATE = 256;

/** Parses a time: milliseconds, or a number with `ms` or `s` behind it. */
export function parseMilliseconds(value: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|)$/.exec(value) ?? [];
  const ms = Number(number) * (unit === "s" ? 1000 : 1);
  if (number === "" || ms > LONGEST_SETTLE_MS) {
    throw new UsageError(
      `${shownPath(value)} is not a time here: that is milliseconds, or 250ms, or 2s, and at most 60s.`,
    );
  }
  return ms;
}

const LONGEST_SETTLE_MS = 60_000;

/** Adds an option to a command whose default is shown in the units that people give it in. */
export function withDefault<T>(
  flags: string,
  description: string,
  parse: (value: string) => T,
  value: T,
  shown: string,
): Option {
  return new Option(flags, description).argParser(parse).default(value, shown);
}

/** Gathers a repeatable option's values. */
export function gather(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Parses bytes: a number with K, M, G or T (of 1024) behind it. */
export function parseBytes(value: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMGT]?)$/i.exec(value) ?? [];
  const bytes = Math.round(Number(number) * 1024 ** " KMGT".indexOf(unit === "" ? " " : unit.toUpperCase()));
  if (number === "" || !Number.isSafeInteger(bytes)) {
    throw new UsageError(`${shownPath(value)} is not a size: that is bytes, such as 500M or 50G.`);
  }
  return bytes;
}

/** Parses where to listen: `HOST:PORT`, with an IPv6 address in brackets. */
export function parseListen(value: string): { host: string; port: number } {
  const [, bracketed, plain, port = ""] = /^(?:\[([\da-fA-F:.]+)\]|([^:[\]\s/]+)):(\d+)$/.exec(value) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) {
    throw new UsageError(`${shownPath(value)} is no address to listen on: that is HOST:PORT, such as 127.0.0.1:5080.`);
  }
  return { host, port: portParser(0)(port) };
}

/** Parses how long a scrub may take: a time such as 30d, or 0. Milliseconds. */
export function parseScrub(value: string): number {
  return value === "0" ? 0 : parseDuration(value);
}

/** Parses a limit of deletes: so many files, or a percentage of what the mirror holds. */
export function parseMaxDelete(value: string): MaxDelete {
  const [, number = "", percent = ""] = /^(\d{1,9})(%?)$/.exec(value) ?? [];
  if (number === "" || (percent !== "" && Number(number) > 100)) {
    throw new UsageError(
      `${shownPath(value)} is not a limit of deletes: that is a number of files, or a share such as 20%.`,
    );
  }
  return percent === "" ? Number(number) : `${Number(number)}%`;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Parses a time such as 90s, 15m, 1h, 30d or 2w. Milliseconds. */
export function parseDuration(value: string): number {
  const [, number = "", unit = ""] = /^(\d{1,6})([smhdw])$/.exec(value) ?? [];
  const duration = Number(number) * (UNIT_MS[unit] ?? 0);
  if (duration === 0)
    throw new UsageError(`${shownPath(value)} is not a time: that is a number and s, m, h, d or w, such as 1h.`);
  return duration;
}
