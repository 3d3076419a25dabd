import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { explain } from "../../../src/cli/explain.js";
import { make, tempFolder } from "../../support/sync-rig.js";

afterEach(() => vi.restoreAllMocks());

async function said(folder: string, asked: string, options = {}): Promise<string> {
  let text = "";
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  await explain(folder, asked, options);
  return text;
}

test("says file, line and pattern of the rule that decides", async () => {
  const folder = tempFolder();
  make(folder, { ".confundoignore": "*.o\nbuild/\n", "d/.gitignore": "!x.o\n", "d/x.o": "", "build/y": "" });
  expect(await said(folder, "d/x.o")).toBe("d/x.o is ignored: .confundoignore:1: *.o\n");
  expect(await said(folder, "d/x.o", { gitignore: true })).toBe("d/x.o is mirrored: d/.gitignore:1: !x.o\n");
  expect(await said(folder, "build/y")).toBe("build/y is ignored with its folder build: .confundoignore:2: build/\n");
  expect(await said(folder, "d", { ignore: ["d"] })).toBe("d is ignored: --ignore:1: d\n");
  expect(await said(folder, path.join(folder, "d"))).toBe("d is mirrored: no rule matches\n");
  expect(await said(folder, "not/there.o/")).toBe("not/there.o is ignored: .confundoignore:1: *.o\n");
});

test("refuses what is outside", async () => {
  await expect(explain(tempFolder(), "/etc/passwd", {})).rejects.toMatchObject({ code: "ERR_USAGE" });
});
