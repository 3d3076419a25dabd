/** The tables of limits in docs/security.md: complete, and true. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { noDrops } from "../src/protocol/drops.js";
import * as protocol from "../src/protocol/limits.js";
import * as secure from "../src/secure/limits.js";
import * as server from "../src/server/limits.js";
import { CodeCounters, LIMIT_NAMES, LimitCounters } from "../src/server/limits.js";
import * as versions from "../src/server/versions/limits.js";
import * as datagrams from "../src/stream/datagram/limits.js";
import * as sync from "../src/sync/limits.js";
import { ApiRig } from "./support/api-rig.js";

const OPTIONS = ["--quota", "--storage-limit", "--max-entries", "--receive-budget"];
/** Bounds of what an administrator or this program asks for: nobody else reaches them. */
const OWN = new Set([
  "MAX_FOLDER_GRACE_MS",
  "MAX_TOKEN_CHARACTERS",
  "MAX_PAIRING_ANSWER_BYTES",
  // Of UDP itself.
  "MAX_DATAGRAM_BYTES",
  // What we report, and send at once.
  "MAX_SACK_BLOCKS",
  "MAX_SACK_BLOCKS_WITH_DATA",
  "MAX_BURST_DATAGRAMS",
  "MAX_BURST_BYTES",
  // Of a client's own folder, and of what it asks and sends.
  "MAX_BURST_MS",
  "MAX_CHANGED_ROUNDS",
  "MAX_COPIED_BYTES",
  "MAX_COPIED_CHUNKS",
  "MAX_FRESH",
  "MAX_GONE",
  "MAX_KNOWN_FOLDERS",
  "MAX_LARGE_SENDS",
  "MAX_LARGE_STREAMS",
  "MAX_LINKED_WATCHES",
  "MAX_MOUNT_POINTS",
  "MAX_OFFERED_BYTES",
  "MAX_PACED_FILES",
  "MAX_REMEMBERED_FRESH",
  "MAX_REMEMBERED_LOSSES",
  "MAX_SCRUB_WAIT_MS",
  "MAX_SMALL_READS",
  "MAX_SPARE_FRAMES",
  "MAX_WAITING_HINTS",
  "MAX_WALKS_IN_A_ROW",
  "MOST_OPEN_CHECK_MS",
  "MOST_REST_MS",
  "MOST_UNASKED_BYTES",
  "MOST_UNASKED_FILES",
]);

interface Row {
  readonly limit: string;
  readonly number: string;
  readonly metric: string;
  readonly test: string;
}

/** The rows of all tables whose columns are limit, number, metric and test. */
function rows(): Row[] {
  const lines = readFileSync("docs/security.md", "utf8").split("\n");
  const found: Row[] = [];
  for (let at = lines.indexOf("| limit | number | metric | test |"); at !== -1; ) {
    for (at += 2; lines[at]?.startsWith("|"); at++) {
      const [, limit = "", number = "", metric = "", test = ""] = (lines[at] as string)
        .split(" | ")
        .flatMap((cell, i) => (i === 0 ? ["", cell.replace(/^\| /, "")] : [cell.replace(/ \|$/, "")]));
      found.push({ limit, number, metric, test });
    }
    at = lines.indexOf("| limit | number | metric | test |", at);
  }
  return found;
}

const names = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
const namesOf = ({ limit, number }: Row): string[] => [...names(limit), ...names(number)];
const constants: Record<string, unknown> = { ...protocol, ...secure, ...server, ...versions, ...sync, ...datagrams };

describe("each row", () => {
  test.each(rows().map((row) => [row.limit, row] as const))("%s names what there is", async (_, row) => {
    for (const name of namesOf(row)) {
      const known = [
        ...OPTIONS,
        "maxConnections",
        ...LIMIT_NAMES,
        ...Object.keys(noDrops()),
        ...Object.keys(constants),
      ];
      expect(known, name).toContain(name);
    }
    for (const file of names(row.test)) {
      expect(existsSync(file), file).toBe(true);
      const reached = namesOf(row).filter((name) => !name.startsWith("--"));
      const text = readFileSync(file, "utf8");
      // Options have names of their own in code.
      if (reached.length > 0)
        expect(
          reached.some((name) => text.includes(name)),
          `${file} of ${row.limit}`,
        ).toBe(true);
    }
  });

  test("has the number of the constant that it names", () => {
    for (const row of rows()) {
      const digits = `${row.limit} ${row.number}`.replaceAll(/(?<=\d),(?=\d{3})/g, "");
      for (const name of namesOf(row)) {
        const value = constants[name];
        if (typeof value !== "number") continue;
        const forms = [`${value}`, `${value / 1024} KiB`, `${value / 1000} s`];
        expect(
          forms.some((form) => digits.includes(form)),
          `${name} is ${value}: ${digits}`,
        ).toBe(true);
      }
    }
  });

  test("has a metric that is there", async () => {
    const counts = { drops: noDrops, statelessResets: () => ({ sent: 0, suppressed: 0 }), overflows: () => 0 };
    const codes = { refused: new CodeCounters(), failed: new CodeCounters() };
    const limits = new LimitCounters();
    await using rig = await ApiRig.start({ limits, connectionCounts: { ...counts, ...codes } });
    const text = await (await rig.ask("GET", "/metrics")).text();
    for (const { limit, metric } of rows()) {
      for (const series of names(metric)) expect(text, `${series} of ${limit}`).toContain(`\n${series} `);
    }
    for (const name of ["confundo_session_overflows", 'confundo_sessions_failed_total{code="ERR_LIMIT"}']) {
      expect(text).toContain(`\n${name} `);
    }
  });
});

describe("a row is there", () => {
  const listed = new Set(rows().flatMap(namesOf));

  test("for every limit that the server counts, with a metric and a test", () => {
    for (const name of LIMIT_NAMES) {
      const row = rows().find(({ limit }) => limit === `\`${name}\``);
      expect(row?.metric, name).toBe(`\`confundo_limit_reached_total{limit="${name}"}\``);
      expect(names(row?.test ?? ""), name).toHaveLength(1);
    }
  });

  test("for every bound in the limits files", () => {
    const bounds = Object.keys(constants).filter((name) => /^(MAX|MOST)_/.test(name));
    expect(bounds.filter((name) => !listed.has(name) && !OWN.has(name))).toEqual([]);
    expect([...OWN].filter((name) => listed.has(name) || !bounds.includes(name))).toEqual([]);
  });

  test("for every limit of the port by which datagrams are dropped", () => {
    const limits = Object.keys(noDrops()).filter((reason) => reason.endsWith("Limit"));
    expect(limits.filter((name) => !listed.has(name))).toEqual([]);
  });
});
