/** Short texts from the network: pairing, addresses, HTTP headers, names, ignore rules. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { parseAddress } from "../../src/cli/address.js";
import { UsageError } from "../../src/cli/report.js";
import { createCode, formatPairingCode } from "../../src/secure/code.js";
import { SecureError } from "../../src/secure/errors.js";
import { pairRequest } from "../../src/secure/exchange.js";
import { digestOf, expectation, judge, rangeOf } from "../../src/server/http/content.js";
import { Problem } from "../../src/server/http/index.js";
import { ignorePatterns, nameFromBytes, SyncError, unsafePath } from "../../src/sync/index.js";
import { nameToBytes } from "../../src/sync/names.js";
import type { Target } from "./targets.js";

const string = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

const pairing: Target = {
  async run(bytes) {
    const stream = new PassThrough();
    stream.end(bytes);
    try {
      const { code, name } = await pairRequest(stream, 60_000);
      assert.ok(code === null || code.length === 22);
      assert.ok([...name].length <= 100);
    } catch (error) {
      if (!(error instanceof SecureError)) throw error;
    }
  },
  seeds() {
    const frame = (value: unknown): Uint8Array => {
      const json = Buffer.from(JSON.stringify(value));
      return Buffer.concat([Buffer.from([json.length >> 8, json.length & 255]), json]);
    };
    return [
      frame({ code: createCode().replace(/./g, "A"), name: "laptop" }),
      frame({ code: null, name: "x", rename: true }),
    ];
  },
};

const address: Target = {
  run(bytes) {
    try {
      const { port, name } = parseAddress(string(bytes));
      assert.ok(port > 0 && port < 65_536 && name !== "" && unsafePath(name) === undefined);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
    }
  },
  seeds() {
    const code = formatPairingCode({
      code: Buffer.alloc(16, 1).toString("base64url"),
      pin: Buffer.alloc(32, 2).toString("base64url"),
    });
    return ["confundo://host:5000/m", `confundo://[::1]/a%20b#${code}`].map((text) => Buffer.from(text));
  },
};

const HEADERS = [
  "range",
  "if-range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "content-digest",
];
const FILE = { sha256: "ab".repeat(32), modifiedAt: 1_700_000_000_000 };

/** A line for each header. */
const httpHeaders: Target = {
  maxBytes: 1024,
  run(bytes) {
    const lines = string(bytes).split("\n");
    const header = (name: string): string | undefined => lines[HEADERS.indexOf(name)] || undefined;
    const range = rangeOf(header as never, 1000, FILE);
    if (typeof range === "object") assert.ok(range.start >= 0 && range.start <= range.end && range.end < 1000);
    judge(header as never, FILE);
    const digest = digestOf(header as never);
    assert.ok(digest === null || /^[0-9a-f]{64}$/.test(digest));
    try {
      expectation(header as never);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  },
  seeds: () =>
    [
      `bytes=0-99\n"${FILE.sha256}"\n"${FILE.sha256}", W/"x"\n\nWed, 15 Nov 2023 00:00:00 GMT`,
      `bytes=-5\nWed, 15 Nov 2023 00:00:00 GMT\n*\n*\n\n\nsha-256=:${Buffer.alloc(32).toString("base64")}:`,
    ].map((text) => Buffer.from(text)),
};

const names: Target = {
  run(bytes) {
    const name = nameFromBytes(bytes);
    if (!bytes.includes(0)) assert.deepEqual(Buffer.from(nameToBytes(name)), Buffer.from(bytes));
    for (const platform of ["linux", "win32", "darwin"] as const) {
      if (unsafePath(name, platform) !== undefined) continue;
      assert.ok(!name.startsWith("/") && !name.split("/").includes("..") && !name.includes("\0"));
    }
  },
  seeds: () =>
    ["a/b", "é", "../x", "con.txt"].map((text) => Buffer.from(text)).concat([Buffer.from([0x61, 0xff, 0xed, 0xa0])]),
};

const ignoreRules: Target = {
  maxBytes: 300,
  run(bytes) {
    try {
      const ignore = ignorePatterns(string(bytes).split("\n"));
      for (const path of ["a", "a/b.o", "node_modules/x/y", "[x]", "é"]) ignore(path, false);
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
    }
  },
  seeds: () => ["*.o\n!keep.o\n/build/\n**/x/**\n[a-z]?\\ #", "node_modules\n*"].map((text) => Buffer.from(text)),
};

export const textTargets = { pairing, address, "http-headers": httpHeaders, names, "ignore-rules": ignoreRules };
