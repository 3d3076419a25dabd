import { describe, expect, test } from "vitest";
import { Owed } from "../../../src/sync/owed.js";
import { isWithin } from "../../../src/sync/path.js";

const round = (roots: readonly string[], undone: readonly string[] = []) => ({
  covers: (path: string) => roots.some((root) => isWithin(path, root)),
  undone,
});

describe("what is owed", () => {
  test.each<[string, string[], ReturnType<typeof round>[], boolean]>([
    ["a path that a round looked at", ["a"], [round(["a"])], true],
    ["a path below what it looked at", ["d/a"], [round(["d"])], true],
    ["a folder of which it looked at a part", ["d"], [round(["d/a"])], false],
    ["one of two", ["a", "b"], [round(["a"])], false],
    ["two, one after the other", ["a", "b"], [round(["a"]), round(["b"])], true],
    ["everything, by a part", [""], [round(["a"])], false],
    ["everything, by a walk", [""], [round([""])], true],
    ["what was left undone", ["a"], [round(["a"], ["a"])], false],
    ["what was left undone elsewhere", ["a"], [round([""], ["b"])], true],
    ["what was left undone below, done by the next", ["d"], [round(["d"], ["d/a"]), round(["d/a"])], true],
    ["what was left undone below, while the next does another", ["d"], [round(["d"], ["d/a"]), round(["d/b"])], false],
    ["what nobody knows of", ["a"], [round([""], [""])], false],
    ["what nobody knew of, after a walk", ["a"], [round([""], [""]), round([""])], true],
  ])("%s", (_, paths, rounds, settled) => {
    const owed = new Owed(paths);
    for (const each of rounds) {
      owed.begin();
      owed.end(each);
    }
    expect(owed.settled).toBe(settled);
  });

  test("a round that had begun before, or came to nothing, settles nothing", () => {
    const owed = new Owed(["a"]);
    owed.end(round(["a"]));
    owed.begin();
    owed.cancel();
    owed.end(round(["a"]));
    expect(owed.settled).toBe(false);
  });
});
