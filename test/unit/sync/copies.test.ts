import { expect, test } from "vitest";
import { Copies } from "../../../src/sync/copies.js";
import type { FileEntry } from "../../../src/sync/entry.js";

const file = (path: string, size: number, digit: string): FileEntry => {
  return { kind: "file", path, size, mtimeNs: 0n, executable: false, sha256: digit.repeat(64) };
};
const copies = (there: FileEntry[], put: FileEntry): Copies =>
  new Copies(new Map(there.map((entry) => [entry.path, entry])), [{ do: "put", entry: put }]);

test("a file is not read for its hash because its own older version has its size", () => {
  const changed = file("a", 9000, "2");
  expect(copies([file("a", 9000, "1")], changed).has(changed)).toBe(false);
  expect(copies([file("a", 9000, "1"), file("b", 9001, "3")], changed).has(changed)).toBe(false);
});

test("it is where a file elsewhere has that size, and a copy is found by the hash", () => {
  const changed = file("a", 9000, "2");
  const found = copies([file("a", 9000, "1"), file("b", 9000, "2")], changed);
  expect(found.has(changed)).toBe(true);
  expect(found.of(Buffer.from("2".repeat(64), "hex"))).toBe("b");
  expect(copies([file("b", 9000, "2")], changed).has(changed)).toBe(true);
});
