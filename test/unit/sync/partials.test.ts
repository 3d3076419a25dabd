import { expect, test } from "vitest";
import { MAX_PARTIALS, PARTIAL_KEEP_MS } from "../../../src/sync/limits.js";
import { type Partial, partialsToKeep } from "../../../src/sync/partials.js";

const partial = (n: number, ageMs: number): Partial => ({ file: `/staging/${n}`, id: `${n}`, bytes: 1, ageMs });

test("of unfinished uploads MAX_PARTIALS are kept, the newest, and none that are too old", () => {
  const many = Array.from({ length: MAX_PARTIALS + 3 }, (_, n) => partial(n, n));
  const kept = partialsToKeep(many);
  expect([...kept]).toEqual(many.slice(0, MAX_PARTIALS).map(({ file }) => file));
  expect(partialsToKeep([partial(0, PARTIAL_KEEP_MS - 1), partial(1, PARTIAL_KEEP_MS)])).toEqual(
    new Set(["/staging/0"]),
  );
});
