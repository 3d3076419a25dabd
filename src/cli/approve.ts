/** `confundo approve`: beside the data, while the server runs. */
import { answerDeletes, HeldDeletesFiles, requireHeld } from "../server/index.js";
import type { HeldDeletes } from "../sync/index.js";
import { type HomeOption, withHome } from "./home.js";
import { isInteractive, Questions } from "./questions.js";
import { escaped, shownPath } from "./report.js";

export interface ApproveOptions extends HomeOption {
  readonly id?: string;
  readonly keep?: boolean;
  readonly json?: boolean;
}

/** Limits the wait for the client to carry out the answer. */
const DONE_MS = 5000;
const LOOK_EVERY_MS = 50;

/** Lets the client of a mirror carry out the deletes that it holds back; asks before, where somebody is there to answer. */
export function approve(name: string, options: ApproveOptions): Promise<void> {
  return withHome(options, async ({ dir, database }) => {
    const files = new HeldDeletesFiles(dir);
    const held = requireHeld(name, files.of(name), options.id);
    if (options.json) process.stdout.write(`${JSON.stringify(held)}\n`);
    else show(name, held);
    // Without an id nothing says that these are the deletes that are meant: JSON is only to be looked at.
    if (options.json && options.id === undefined && !options.keep) return;
    const asks = options.id === undefined && !options.keep && isInteractive();
    const approved = !options.keep && (!asks || (await ask(name, held)));
    await answerDeletes(database, { folder: name, id: held.id, approved, by: "local" });
    const action = approved ? "deletes.approve" : "deletes.keep";
    const detail = `${held.files} files (${held.id})`;
    await database.audit.add({ actor: "local", action, target: name, outcome: "ok", address: null, detail });
    if (!approved) return say(`${shownPath(name)}: the ${held.files} files are kept, and stay held back`);
    const deadline = performance.now() + DONE_MS;
    while (files.of(name)?.id === held.id && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    const done = files.of(name)?.id !== held.id;
    say(`${shownPath(name)}: approved${done ? "" : "; the client has not carried it out yet"}`);
  });
}

function show(name: string, { files, of, deleted, id, paths }: HeldDeletes): void {
  const before = deleted === 0 ? "" : `, ${deleted} were deleted before`;
  say(`${shownPath(name)}: ${files} of ${of} files would be deleted${before} (${id})`);
  for (const path of paths) say(`  ${shownPath(path)}`);
  if (files > paths.length) say(`  and ${files - paths.length} more`);
}

function ask(name: string, { files }: HeldDeletes): Promise<boolean> {
  return new Promise((resolve) => {
    new Questions().ask(`Delete these ${files} files of ${shownPath(name)}? [y/N] `, resolve);
  });
}

function say(text: string): void {
  process.stdout.write(`${escaped(text)}\n`);
}
