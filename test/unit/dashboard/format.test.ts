import { describe, expect, test } from "vitest";
import { ago, bytes, counted, milliseconds, permissions } from "../../../src/dashboard/format.js";
import { hrefOf, type Place, parsePlace } from "../../../src/dashboard/router.js";

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1536, "1.5 KiB"],
  [640 * 1024 ** 2, "640 MiB"],
  [1024 ** 5 * 2048, "2048 PiB"],
])("%d bytes are %s", (count, text) => {
  expect(bytes(count)).toBe(text);
});

test.each([
  [0.25, "0.3 ms"],
  [42.4, "42 ms"],
  [12_340, "12.3 s"],
])("%d ms are %s", (value, text) => {
  expect(milliseconds(value)).toBe(text);
});

test.each([
  [0, "now"],
  [-59_999, "59 seconds ago"],
  [-60_000, "1 minute ago"],
  [-3 * 3_600_000, "3 hours ago"],
  [-86_400_000, "yesterday"],
  [2 * 3_600_000, "in 2 hours"],
])("%d ms from now is %s", (distance, text) => {
  const now = 1_700_000_000_000;
  expect(ago(now + distance, now)).toBe(text);
});

test("numbers with their words", () => {
  expect([counted(1, "file"), counted(0, "file"), counted(2000, "entry", "entries")]).toEqual([
    "1 file",
    "0 files",
    "2,000 entries",
  ]);
});

test("permission bits as ls shows them", () => {
  expect([0o755, 0o100640, 0].map(permissions)).toEqual(["rwxr-xr-x", "rw-r-----", "---------"]);
});

describe("places", () => {
  const places: Place[] = [
    { page: "folders" },
    { page: "audit" },
    { page: "files", folder: "photos", path: "" },
    { page: "files", folder: "a b", path: "2026/50 %/ä?#" },
  ];
  test.each(places)("%o goes into an address and back", (place) => {
    expect(parsePlace(hrefOf(place))).toEqual(place);
  });

  test.each(["", "#", "#/nowhere", "#/files", "#/files/"])("%o leads to the folders", (hash) => {
    expect(parsePlace(hash)).toEqual({ page: "folders" });
  });

  test("a badly encoded part is taken as it is", () => {
    expect(parsePlace("#/files/photos/50%")).toEqual({ page: "files", folder: "photos", path: "50%" });
  });
});
