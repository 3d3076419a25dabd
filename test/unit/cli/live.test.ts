import { describe, expect, test } from "vitest";
import { LiveArea } from "../../../src/cli/live.js";

// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what a terminal is told by
const TOLD = /\u001b\[(\d+)A|(\u001b\[0J)|(\u001b\[1G)|([^\u001b]+)/g;

/** A terminal of 20 columns, as far as an area needs one: what it shows, line by line. */
function terminal(isTTY = true) {
  const lines = [""];
  let row = 0;
  const write = (text: string): boolean => {
    for (const [, up, erase, column, plain] of text.matchAll(TOLD)) {
      if (up) row -= Number(up);
      else if (erase) lines.splice(row, lines.length, "");
      else if (!column) {
        for (const [i, part] of (plain ?? "").split("\n").entries()) {
          if (i > 0) lines[++row] ??= "";
          lines[row] += part;
        }
      }
    }
    return true;
  };
  const output = { isTTY, columns: 20, rows: 10, write } as unknown as NodeJS.WriteStream;
  return { area: new LiveArea(output), output, shown: () => lines.filter((line) => line !== "") };
}

const redrawn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 120));

describe("the live area", () => {
  test("stays below what is printed, and is cut to the width of the terminal", async () => {
    const { area, output, shown } = terminal();
    const section = area.section();
    section.set(["first", "a line that is longer than the terminal"]);
    expect(shown()).toEqual(["first", "a line that is long"]);
    area.above(() => output.write("printed\n"));
    await redrawn();
    expect(shown()).toEqual(["printed", "first", "a line that is long"]);
    section.set(["second: 漢字漢字漢字漢字"]);
    await redrawn();
    expect(shown()).toEqual(["printed", "second: 漢字漢字漢"]);
    section.set([]);
    await redrawn();
    expect(shown()).toEqual(["printed"]);
  });

  test("without lines it is erased at once, and erases nothing that is printed afterwards", async () => {
    const { area, output, shown } = terminal();
    const section = area.section();
    section.set(["first"]);
    section.set(["second, which waits for its time"]);
    section.set([]);
    output.write("sent\n");
    expect(shown()).toEqual(["sent"]);
    await redrawn();
    expect(shown()).toEqual(["sent"]);
  });

  test("a question stands in place of the lines, below what is printed, until it is answered", async () => {
    const { area, output, shown } = terminal();
    const section = area.section();
    section.set(["half"]);
    area.ask("Delete? [y/N] ");
    section.set(["nearly all"]);
    await redrawn();
    area.above(() => output.write("printed\n"));
    expect(shown()).toEqual(["printed", "Delete? [y/N] "]);
    // What the person types is shown by the terminal.
    output.write("y\n");
    area.answered(true);
    await redrawn();
    expect(shown()).toEqual(["printed", "Delete? [y/N] y", "nearly all"]);
    area.ask("Sure? ");
    area.answered(false);
    await redrawn();
    expect(shown()).toEqual(["printed", "Delete? [y/N] y", "Sure? ", "nearly all"]);
  });

  test("is shared by several", async () => {
    const { area, shown } = terminal();
    const [one, other] = [area.section(), area.section()];
    other.set(["b"]);
    one.set(["a1", "a2"]);
    await redrawn();
    expect(shown()).toEqual(["a1", "a2", "b"]);
  });

  test("is nothing where the output is no terminal", async () => {
    const { area, shown } = terminal(false);
    area.section().set(["x"]);
    await redrawn();
    expect(shown()).toEqual([]);
  });
});
