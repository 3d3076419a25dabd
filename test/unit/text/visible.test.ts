import { describe, expect, test } from "vitest";
import { escapeInvisible, isVisible, visibleLabel, visibleName, visibleParts } from "../../../src/text/visible.js";

/** Every character that the issue names, and their kin. */
const DECEIVING = [
  ...range(0x00, 0x1f),
  ...range(0x7f, 0x9f),
  0xad, // soft hyphen
  0x34f, // combining grapheme joiner
  0x61c, // Arabic letter mark
  0x115f,
  0x180e,
  ...range(0x200b, 0x200f), // zero width, directional marks
  ...range(0x2028, 0x202e), // separators, embeddings, overrides
  ...range(0x2060, 0x2064), // word joiner, invisible operators
  ...range(0x2066, 0x2069), // isolates
  0x3164, // Hangul filler
  0xfeff,
  0xfff9,
  0xe0001, // language tag
  0xe0041,
];

describe("characters that deceive", () => {
  test.each(DECEIVING.map((code) => [code.toString(16), String.fromCodePoint(code)]))(
    "U+%s is shown",
    (hex, character) => {
      const name = `a${character}b`;
      expect(isVisible(name)).toBe(false);
      const upper = hex.toUpperCase().padStart(4, "0");
      expect(visibleLabel(name)).toBe(`a<U+${upper}>b`);
      expect(visibleParts(name)).toEqual([
        { text: "a", invisible: false },
        { text: `U+${upper}`, invisible: true },
        { text: "b", invisible: false },
      ]);
      const shown = visibleName(name);
      expect([...shown].every((each) => each >= " " && each <= "~")).toBe(true);
      // What is shown is JSON of the name.
      expect(JSON.parse(shown)).toBe(name);
    },
  );

  test("halves of surrogate pairs too", () => {
    expect(visibleName("a\ud800b")).toBe('"a\\ud800b"');
  });

  test("the name that the review found", () => {
    expect(visibleName("evil\u202egpj.exe")).toBe('"evil\\u202egpj.exe"');
  });
});

test.each([
  "summer.txt",
  "Übung – ça va?.odt",
  "日本語.txt",
  "שלום.txt",
  "ملف.txt",
  "हिन्दी.txt",
  "e\u0301.txt",
  "👍🏽.png",
  "❤\ufe0f.txt",
  "a b\u00a0c.txt",
])("%s is left as it is", (name) => {
  expect(isVisible(name)).toBe(true);
  expect(visibleName(name)).toBe(name);
  expect(visibleLabel(name)).toBe(name);
  expect(escapeInvisible(name)).toBe(name);
  expect(visibleParts(name)).toEqual([{ text: name, invisible: false }]);
});

test("what is escaped in JSON is the same value", () => {
  const value = { path: "a\u202eb\u200bc\n\udc00", "k\u2066": ["\u{e0041}"] };
  const text = escapeInvisible(JSON.stringify(value));
  expect(isVisible(text)).toBe(true);
  expect(JSON.parse(text)).toEqual(value);
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}
