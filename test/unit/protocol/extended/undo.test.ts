import { expect, test } from "vitest";
import { Undo } from "../../../../src/protocol/extended/undo.js";

test.each<[string, string, boolean]>([
  ["nothing was lost", "", false],
  ["one of one had arrived", "L1 o", true],
  ["one of two had", "L2 o", false],
  ["both had, told by original and duplicate", "L2 o d", true],
  ["an original that was repeated is reported twice, and counts once", "L2 O d", false],
  ["and then the other one's duplicate", "L2 O d d", true],
  ["more is lost in between", "L1 o L1", false],
  ["duplicates without losses", "d d", false],
  ["another recovery begins", "L1 B L1", false],
])("%s", (_what, script, expected) => {
  const undo = new Undo();
  undo.begin();
  for (const step of script.split(" ").filter((word) => word !== "")) {
    if (step[0] === "L") undo.onLost(Number(step.slice(1)));
    if (step === "o") undo.onOriginal(false);
    if (step === "O") undo.onOriginal(true);
    if (step === "d") undo.onDuplicate();
    if (step === "B") undo.begin();
  }
  expect(undo.takeDue()).toBe(expected);
  expect(undo.takeDue()).toBe(false);
});
