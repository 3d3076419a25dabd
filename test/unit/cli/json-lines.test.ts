import { expect, test, vi } from "vitest";
import { JsonLines } from "../../../src/cli/json-lines.js";
import type { MirrorEvent } from "../../../src/sync/index.js";

test("a path that fails again and again is told of when it fails first, when it fails otherwise, and when that is over", () => {
  const written: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);
  const lines = new JsonLines();
  const failed = (code: string, again?: true): MirrorEvent => {
    return { type: "failed", path: "a", code, message: "no", ...(again === undefined ? {} : { again }) };
  };
  const queued: MirrorEvent = { type: "queued", path: "a", size: 1 };
  for (const event of [queued, failed("EACCES"), queued, failed("EACCES", true), queued, failed("ENOSPC")]) {
    lines.show(event);
  }
  lines.show({ type: "pushed", path: "a", kind: "file", bytes: 1 });
  lines.show(queued);
  lines.end();
  write.mockRestore();
  const told = written.join("").trimEnd().split("\n");
  expect(told.map((line) => JSON.parse(line)).map(({ type, code }) => code ?? type)).toEqual([
    "queued",
    "EACCES",
    "ENOSPC",
    "pushed",
    "queued",
  ]);
});
