import { expect, test } from "vitest";
import { rawArguments } from "../../../src/cli/raw-arguments.js";
import { nameToBytes } from "../../../src/sync/names.js";

const line = (...parts: (string | number[])[]): Buffer =>
  Buffer.concat(parts.flatMap((part) => [Buffer.from(part as string), Buffer.of(0)]));

test("arguments that are UTF-8 are taken as Node gives them, without a look at the command line", () => {
  const never = (): Buffer => {
    throw new Error("not needed");
  };
  expect(rawArguments(["mirror", "fö", "-"], never)).toEqual(["mirror", "fö", "-"]);
});

test("bytes that are not UTF-8 come from the command line", () => {
  const odd = [0x63, 0x61, 0x66, 0xe9];
  const argv = ["mirror", Buffer.from(odd).toString(), "", "a\ufffd"];
  const found = rawArguments(argv, () => line("node", "--flag", "bin", "mirror", odd, "", "a\ufffd"));
  expect(nameToBytes(found[1] as string)).toEqual(Buffer.from(odd));
  // Behind it: nothing, and a U+FFFD that was given as such.
  expect(found.slice(2)).toEqual(["", "a\ufffd"]);
});

test.each([
  ["none", Buffer.alloc(0)],
  ["too short", line("x")],
  ["another one", line("node", "bin", "mirror", "other")],
])("a command line that is of no use is not used: %s", (_, bytes) => {
  expect(rawArguments(["mirror", "a\ufffd"], () => bytes)).toEqual(["mirror", "a\ufffd"]);
});
