import { describe, expect, test } from "vitest";
import { parseBytes, parseListen } from "../../../src/cli/options.js";

describe("--http", () => {
  test.each([
    ["127.0.0.1:5080", { host: "127.0.0.1", port: 5080 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["[::1]:80", { host: "::1", port: 80 }],
  ])("%s", (value, where) => expect(parseListen(value)).toEqual(where));

  test.each(["", "nonsense", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "http://a:80", "a b:80"])(
    "%s is a mistake",
    (value) => expect(() => parseListen(value)).toThrow(/port|HOST:PORT/),
  );
});

describe("--quota", () => {
  test.each([
    ["0", 0],
    ["1000", 1000],
    ["1.5k", 1536],
    ["50G", 50 * 2 ** 30],
    ["2T", 2 ** 41],
  ])("%s", (value, bytes) => expect(parseBytes(value)).toBe(bytes));

  test.each(["", "-1", "G", "1X", "1 G", "9999999T"])("%s is a mistake", (value) => {
    expect(() => parseBytes(value)).toThrow(/50G/);
  });
});
