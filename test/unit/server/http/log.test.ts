import { pino } from "pino";
import { expect, test } from "vitest";
import { logError } from "../../../../src/server/http/log.js";
import { isVisible } from "../../../../src/text/visible.js";
import { ApiRig } from "../../../support/api-rig.js";

const EVIL = "evil\u202egpj.exe\u001b[2J\nfine\u009b";

function capture() {
  const lines: string[] = [];
  const logger = pino({ base: null }, { write: (line: string) => void lines.push(line) });
  return { logger, lines, entries: () => lines.map((line) => JSON.parse(line)) };
}

/** All texts of an entry, as a program that prints them for people has them. */
function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(texts) : [];
}

test("the log says what deceives in an error, its causes and its fields", () => {
  const { logger, lines, entries } = capture();
  const cause = Object.assign(new Error(`ENOENT: no such file, open '${EVIL}'`), { code: "ENOENT" });
  const error = new TypeError(`cannot store ${EVIL}`, { cause });
  cause.cause = error;
  logError(logger, error, `failed: ${EVIL}`, { path: EVIL });
  logError(logger, EVIL, "failed");
  logError(undefined, error, "nobody listens");
  expect(lines.map((line) => line.slice(0, -1)).every(isVisible)).toBe(true);
  const [entry, other] = entries();
  const stack = entry.err.stack.split("\n");
  for (const text of [...texts(entry), ...texts(other)].filter((text) => text !== entry.err.stack)) {
    expect(isVisible(text), JSON.stringify(text)).toBe(true);
  }
  expect(stack.filter((line: string) => !isVisible(line))).toEqual([]);
  expect(stack[0]).toBe("TypeError: cannot store evil\\u202egpj.exe\\u001b[2J\\u000afine\\u009b");
  expect(stack[1]).toMatch(/^ {4}at /);
  expect(entry).toMatchObject({
    msg: "failed: evil\\u202egpj.exe\\u001b[2J\\u000afine\\u009b",
    path: "evil\\u202egpj.exe\\u001b[2J\\u000afine\\u009b",
    err: { type: "TypeError", message: expect.stringContaining("'evil\\u202e") },
  });
  expect(entry.err.stack).toContain("caused by: Error: ENOENT");
});

test("a request that fails inside is logged, whatever its path and the error say", async () => {
  const { logger, entries } = capture();
  await using rig = await ApiRig.start({ logger });
  rig.mirrors.refusal = Object.assign(new Error(`EIO: i/o error, open '/home/${EVIL}'`), { code: "EIO" });
  const response = await rig.ask("DELETE", `/api/v1/folders/photos/files/${encodeURIComponent(EVIL)}`);
  expect(response.status).toBe(500);
  const [entry] = entries();
  expect(entry.err.code).toBe("EIO");
  const all = texts(entry).flatMap((text) => text.split("\n"));
  expect(all.filter((text) => !isVisible(text))).toEqual([]);
});
