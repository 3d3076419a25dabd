import path from "node:path";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../../src/cli/config.js";

const address = "confundo://h:5000/photos";
const parse = (value: unknown) =>
  parseConfig(typeof value === "string" ? value : JSON.stringify(value), "/etc/confundo.json");

describe("confundo.json", () => {
  test("several folders with their options, relative to the file", () => {
    const mirrors = [
      { folder: "photos", address, ignore: ["*.tmp", "!a.tmp"], gitignore: true, delete: false, bandwidth: "5M" },
      { folder: "/abs", address: `${address}2` },
    ];
    expect(parse({ mirrors })).toEqual([
      { ...mirrors[0], folder: path.resolve("/etc/photos"), bandwidth: 5_242_880 },
      { folder: path.resolve("/abs"), address: `${address}2` },
    ]);
  });

  test.each([
    ["{", /^\/etc\/confundo\.json: it is not JSON/],
    [[], /should be an object with a list "mirrors"/],
    [{ mirrors: [] }, /at least one/],
    [{ mirrors: [{ folder: "a", address }], once: true }, /no setting "once"/],
    [{ mirrors: ["a"] }, /mirrors\[0\]: it should be an object/],
    [{ mirrors: [{ address }] }, /mirrors\[0\]: "folder" should/],
    [{ mirrors: [{ folder: "a" }] }, /"address" should/],
    [{ mirrors: [{ folder: "a", address: "http://x" }] }, /mirrors\[0\]: http:\/\/x is not an address/],
    [{ mirrors: [{ folder: "a", address, ignored: [] }] }, /no setting "ignored"/],
    [{ mirrors: [{ folder: "a", address, ignore: [1] }] }, /"ignore" should be a list/],
    [{ mirrors: [{ folder: "a", address, gitignore: "yes" }] }, /"gitignore" should be true or false/],
    [{ mirrors: [{ folder: "a", address, bandwidth: "fast" }] }, /fast is not a bandwidth/],
    [
      {
        mirrors: [
          { folder: "a", address },
          { folder: "b", address },
        ],
      },
      /mirrors\[1\]: another mirror goes to/,
    ],
  ])("%j is told where it is wrong", (value, message) => {
    expect(() => parse(value)).toThrow(
      expect.objectContaining({ code: "ERR_USAGE", message: expect.stringMatching(message) }),
    );
  });
});
