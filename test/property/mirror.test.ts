/**
 * Whatever happens to a folder, its mirror, and what is between them: once it is quiet the mirror equals the folder; no
 * torn file was ever to be seen there; nothing outside of it was touched.
 *
 * Time is virtual and everything is in memory, or with CONFUNDO_DISK=1 real and on a disk. CONFUNDO_HISTORIES=n runs so many
 * (default 100), CONFUNDO_SEED=n those of one seed.
 */
import fs from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { TEST_LIMIT_MS } from "../support/limits.js";
import { History, notLink, wait } from "../support/mirror-history.js";
import { VirtualTime } from "../support/virtual-time.js";

const HISTORIES = Number(process.env.CONFUNDO_HISTORIES ?? 100);
const VIRTUAL = process.env.CONFUNDO_DISK === undefined;
/** Most of a history's time is waiting. */
const AT_ONCE = 10;
const COMMANDS = 40;

vi.setConfig({ testTimeout: TEST_LIMIT_MS + HISTORIES * 2000 });

type Command = fc.AsyncCommand<object, History>;

/** The history itself is the truth; there is no model beside it. */
function command(name: string, run: (history: History) => void | Promise<void>): Command {
  return {
    check: () => true,
    async run(_model, history) {
      await run(history);
      history.check();
    },
    toString: () => name,
  };
}

const NAMES = ["a", "A", "b", "d", "d/a", "d/e", "d/e/f", "x/y/z"] as const;
/** Mostly the same few, so that things happen to what something has happened to. */
const name = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("a", "d/a") },
  { weight: 2, arbitrary: fc.constantFrom(...NAMES) },
);
const size = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 5, 5, 2000) },
  { weight: 1, arbitrary: fc.constantFrom(150_000, 700_000) },
);
/** Whether the watcher tells of it. */
const told = fc.boolean();

function parent(file: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
}

/** Files of 5 bytes all have one time, so that nothing but their content tells them apart. */
function fill(file: string, history: History, bytes: number): void {
  fs.writeFileSync(file, history.content(bytes));
  if (bytes === 5) fs.utimesSync(file, 1e9, 1e9);
}

const onFile = (what: string, act: (file: string, history: History, bytes: number) => void): fc.Arbitrary<Command> =>
  fc
    .tuple(name, size, told)
    .map(([at, bytes, says]) =>
      command(`${what} ${at} (${bytes}${says ? "" : ", unnoticed"})`, (history) =>
        history.change([at], says, (full) => act(full(at), history, bytes)),
      ),
    );

const changes: fc.Arbitrary<Command>[] = [
  onFile("write", (file, history, bytes) => {
    parent(file);
    fill(notLink(file), history, bytes);
  }),
  onFile("replace", (file, history, bytes) => {
    parent(file);
    fill(`${file}.tmp`, history, bytes);
    fs.renameSync(`${file}.tmp`, file);
  }),
  onFile("write", (file, history) => {
    parent(file);
    fill(notLink(file), history, 5);
  }),
  onFile("append to", (file, history, bytes) => fs.appendFileSync(notLink(file), history.content(bytes))),
  onFile("truncate", (file) => fs.truncateSync(notLink(file), 3)),
  onFile("give another time to", (file, _history, bytes) => fs.utimesSync(notLink(file), bytes, bytes)),
  onFile("chmod", (file, _history, bytes) => fs.chmodSync(notLink(file), bytes > 5 ? 0o755 : 0o644)),
  onFile("delete", (file) => fs.rmSync(file, { recursive: true })),
  onFile("mkdir", (file) => fs.mkdirSync(file, { recursive: true })),
  onFile("link", (file, history, bytes) => {
    parent(file);
    fs.symlinkSync(bytes > 5 ? path.join(history.outside, "d") : "a", file);
  }),
  onFile("swap for a link to outside", (file, history) => {
    fs.renameSync(file, `${file} before`);
    fs.symlinkSync(path.join(history.outside, "d"), file);
  }),
  fc.tuple(name, name, told).map(([from, to, says]) =>
    command(`move ${from} to ${to}${says ? "" : " (unnoticed)"}`, (history) =>
      history.change([from, to], says, (full) => {
        parent(full(to));
        fs.renameSync(full(from), full(to));
      }),
    ),
  ),
];

const tampering: fc.Arbitrary<Command> = fc
  .tuple(name, fc.constantFrom("write", "delete", "move", "link"))
  .map(([at, how]) =>
    command(`tamper: ${how} ${at}`, (history) =>
      history.tamper((there) => {
        if (how === "write") fs.writeFileSync(notLink(there(at)), history.content(77));
        else if (how === "delete") fs.rmSync(there(at), { recursive: true });
        else if (how === "move") fs.renameSync(there(at), there("moved"));
        else {
          fs.rmSync(there(at), { recursive: true, force: true });
          fs.symlinkSync(path.join(history.outside, "d"), there(at));
        }
      }),
    ),
  );

const pause = VIRTUAL ? fc.oneof(fc.nat(25), fc.constantFrom(100, 300, 1000, 4000, 12_000, 70_000)) : fc.nat(25);
const disasters: fc.Arbitrary<Command>[] = [
  fc.constant(command("kill the client", (history) => history.killClient())),
  fc.constant(command("kill the server", (history) => history.killServer())),
  fc.constant(command("cut the network", (history) => history.cut())),
  fc.constant(command("heal the network", (history) => history.heal())),
  fc.constant(command("lose the network, and nobody says so", (history) => history.silence())),
  pause.map((ms) => command(`wait ${ms} ms`, () => wait(ms))),
  fc.constant(command("quiet", (history) => history.quiet())),
  fc.constant(command("quiet", (history) => history.quiet())),
  tampering,
];

// Changes thrice as often as what else happens.
const histories = fc.commands([...changes, ...changes, ...changes, ...disasters, ...disasters], {
  maxCommands: COMMANDS,
  size: "max",
});

const property = (time: VirtualTime | undefined) =>
  fc.asyncProperty(histories, async (commands) => {
    const history = new History(time);
    try {
      await fc.asyncModelRun(() => ({ model: {}, real: history }), commands);
      await history.quiet();
      history.check();
    } finally {
      await history.end();
    }
  });

test("whatever happened, once it is quiet the mirror equals the folder", async () => {
  const first = process.env.CONFUNDO_SEED;
  const seeds = first === undefined ? Array.from({ length: AT_ONCE }, (_, i) => i + 1) : [Number(first)];
  const numRuns = Math.ceil(HISTORIES / seeds.length);
  using time = VIRTUAL ? new VirtualTime() : undefined;
  const checking = Promise.all(
    seeds.map(async (seed) => ({
      seed,
      details: await fc.check(property(time), { seed, numRuns, endOnFailure: first === undefined }),
    })),
  );
  const results = await (time?.run(checking) ?? checking);
  for (const { seed, details } of results) {
    const replay = `CONFUNDO_SEED=${seed} CONFUNDO_HISTORIES=${numRuns} npx vitest run test/property/mirror.test.ts`;
    const why = details.errorInstance instanceof Error ? details.errorInstance.stack : details.errorInstance;
    expect(details.failed, `${fc.defaultReportMessage(details)}\n${why}\n\nReplay it with:\n${replay}\n`).toBe(false);
  }
});
