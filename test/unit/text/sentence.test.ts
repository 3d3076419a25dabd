import { expect, test } from "vitest";
import { sentence } from "../../../src/text/sentence.js";

test.each([
  ["the folder is empty", "The folder is empty."],
  ["what's there, is kept", "What's there, is kept."],
  ["is it there?", "Is it there?"],
  ["notes/a.txt is ignored, and not mirrored", "notes/a.txt is ignored, and not mirrored."],
  ["a.txt is ignored", "a.txt is ignored."],
  ["localhost:5000: refused", "localhost:5000: refused."],
  ["3 files failed!", "3 files failed!"],
  ["ÉTÉ", "ÉTÉ."],
  ["", "."],
])("%j becomes %j", (message, expected) => {
  expect(sentence(message)).toBe(expected);
});

test("a name of one word in front keeps its letters", () => {
  expect(sentence("docs is not a folder", "docs")).toBe("docs is not a folder.");
  expect(sentence("docs is not a folder", "other")).toBe("Docs is not a folder.");
  expect(sentence("docs is not a folder", "")).toBe("Docs is not a folder.");
});
