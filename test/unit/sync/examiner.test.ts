import fs from "node:fs";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Desk } from "../../../src/sync/desk.js";
import type { Entry } from "../../../src/sync/entry.js";
import { Examiner } from "../../../src/sync/examiner.js";
import { rootOf } from "../../../src/sync/roots.js";
import { scanFolder } from "../../../src/sync/scan.js";
import { tempFolder, until } from "../../support/sync-rig.js";

test("a root that was found while something was stored and settled is not told", async () => {
  const root = tempFolder();
  fs.writeFileSync(path.join(root, "f"), "1");
  const sent: Buffer[] = [];
  let looks = 0;
  const hash = (entries: Map<string, Entry>): void => {
    for (const entry of entries.values()) {
      if (entry.kind === "file") entries.set(entry.path, { ...entry, sha256: `${entry.size}`.padStart(64, "0") });
    }
  };
  const desk = {
    settled: true,
    steps: 1,
    storage: {
      root,
      reuse: undefined,
      checkRoot: () => true,
      hashes: {
        recall: async () => (found: Entry) => found,
        complete: async (entries: Map<string, Entry>) => {
          hash(entries);
          if (looks++ > 0) return;
          // The folder was read; now comes another file, and the client has nothing more to do.
          fs.writeFileSync(path.join(root, "g"), "22");
          desk.steps++;
        },
      },
    },
    channel: { closed: false, send: (message: { root: Buffer }) => sent.push(message.root) },
    begin: () => {},
    leave: () => {},
  };
  const examiner = new Examiner(desk as unknown as Desk, { scrubMs: 60_000, onAgreed: () => {} });
  onTestFinished(() => examiner.close());
  examiner.settled(Buffer.alloc(32));
  await until(() => sent.length > 0);
  const { entries } = await scanFolder(root);
  hash(entries);
  expect(sent).toEqual([await rootOf(entries.values(), {})]);
  expect(looks).toBe(2);
});
