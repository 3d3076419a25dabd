import { dirname, resolve } from "node:path";
import type { MaxDelete } from "../sync/index.js";
import { parseAddress } from "./address.js";
import {
  parseDuration,
  parseMaxDelete,
  parseMilliseconds,
  parseRate,
  parseRewriteRate,
  parseScrub,
} from "./options.js";
import { shownPath, UsageError } from "./report.js";

export const CONFIG_FILE = "confundo.json";

/** One folder of a configuration file, with its options as the command line has them. */
export interface MirrorConfig {
  readonly folder: string;
  readonly address: string;
  readonly delete?: boolean;
  readonly allowMassDelete?: boolean;
  readonly gitignore?: boolean;
  readonly perms?: boolean;
  readonly deleteIgnored?: boolean;
  readonly ignore?: readonly string[];
  /** Bytes a second. */
  readonly bandwidth?: number;
  /** Milliseconds. */
  readonly settle?: number;
  /** Milliseconds. */
  readonly settleOpen?: number;
  /** Bytes a second; 0: no limit. */
  readonly rewriteRate?: number;
  /** Milliseconds; 0: never. */
  readonly scrub?: number;
  readonly maxDelete?: MaxDelete;
  /** Milliseconds. */
  readonly deleteWindow?: number;
}

const FLAGS = ["delete", "allowMassDelete", "gitignore", "deleteIgnored", "perms"] as const;
const LIMITS = ["bandwidth", "settle", "settleOpen", "rewriteRate", "scrub", "maxDelete", "deleteWindow"] as const;
const KEYS: readonly string[] = ["folder", "address", "ignore", ...LIMITS, ...FLAGS];

/**
 * Reads `{ "mirrors": [{ "folder": …, "address": …, … }] }`. Folders are relative to where the file is.
 * @throws UsageError that says where it is wrong
 */
export function parseConfig(text: string, file: string): MirrorConfig[] {
  const wrong = (what: string): never => {
    throw new UsageError(`${shownPath(file)}: ${what}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    wrong(`it is not JSON: ${(error as Error).message}`);
  }
  const top = asObject(value) ?? wrong('it should be an object with a list "mirrors".');
  const stray = Object.keys(top).find((key) => key !== "mirrors" && key !== "$schema");
  if (stray !== undefined) wrong(`there is no setting "${stray}" beside "mirrors".`);
  const { mirrors } = top;
  if (!Array.isArray(mirrors) || mirrors.length === 0) wrong('"mirrors" should be a list with at least one mirror.');
  const seen = new Set<string>();
  return (mirrors as unknown[]).map((entry, index) => {
    const say = (what: string): never => wrong(`mirrors[${index}]: ${what}`);
    const config = readMirror(asObject(entry) ?? say("it should be an object."), dirname(resolve(file)), say);
    if (seen.has(config.address)) say(`another mirror goes to ${config.address} already.`);
    seen.add(config.address);
    return config;
  });
}

function readMirror(entry: Record<string, unknown>, base: string, say: (what: string) => never): MirrorConfig {
  const stray = Object.keys(entry).find((key) => !KEYS.includes(key));
  if (stray !== undefined) say(`there is no setting "${stray}". There are ${KEYS.join(", ")}.`);
  const { folder, address, ignore, bandwidth, settle, settleOpen, rewriteRate, scrub, maxDelete, deleteWindow } = entry;
  if (typeof folder !== "string" || folder === "") return say('"folder" should be the path of a folder.');
  if (typeof address !== "string") return say('"address" should be confundo://HOST:PORT/NAME.');
  explained(() => parseAddress(address), say);
  const patterns = Array.isArray(ignore) && ignore.every((pattern) => typeof pattern === "string");
  if (ignore !== undefined && !patterns) say('"ignore" should be a list of patterns.');
  const flags = FLAGS.filter((key) => entry[key] !== undefined);
  for (const key of flags) if (typeof entry[key] !== "boolean") say(`"${key}" should be true or false.`);
  return {
    folder: resolve(base, folder),
    address,
    ...Object.fromEntries(flags.map((key) => [key, entry[key] as boolean])),
    ...(ignore === undefined ? {} : { ignore: ignore as string[] }),
    ...(bandwidth === undefined ? {} : { bandwidth: explained(() => parseRate(String(bandwidth)), say) }),
    ...(settle === undefined ? {} : { settle: explained(() => parseMilliseconds(String(settle)), say) }),
    ...(scrub === undefined ? {} : { scrub: explained(() => parseScrub(String(scrub)), say) }),
    ...(settleOpen === undefined ? {} : { settleOpen: explained(() => parseMilliseconds(String(settleOpen)), say) }),
    ...(rewriteRate === undefined ? {} : { rewriteRate: explained(() => parseRewriteRate(String(rewriteRate)), say) }),
    ...(maxDelete === undefined ? {} : { maxDelete: explained(() => parseMaxDelete(String(maxDelete)), say) }),
    ...(deleteWindow === undefined ? {} : { deleteWindow: explained(() => parseDuration(String(deleteWindow)), say) }),
  };
}

function explained<T>(read: () => T, say: (what: string) => never): T {
  try {
    return read();
  } catch (error) {
    return say((error as Error).message);
  }
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  const object = typeof value === "object" && value !== null && !Array.isArray(value);
  return object ? (value as Record<string, unknown>) : undefined;
}
