import { lstatSync } from "node:fs";
import { opendir } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import {
  absolutePath,
  CONFUNDOIGNORE,
  GITIGNORE,
  IgnoreRules,
  realPath,
  systemPath,
  type Verdict,
} from "../sync/index.js";
import { printWarning, shownPath, UsageError } from "./report.js";

export interface ExplainCommandOptions {
  readonly ignore?: readonly string[];
  readonly gitignore?: boolean;
}

/** Says which rule decides about a path. */
export async function explain(folder: string, asked: string, options: ExplainCommandOptions): Promise<void> {
  await (await opendir(systemPath(folder))).close();
  const root = realPath(folder);
  const path = insideOf(root, folder, asked);
  const stats = lstatSync(systemPath(join(root, path)), { throwIfNoEntry: false });
  const directory = /[/\\]$/.test(asked) || (stats?.isDirectory() ?? false);
  const files = options.gitignore ? [GITIGNORE, CONFUNDOIGNORE] : [CONFUNDOIGNORE];
  const rules = new IgnoreRules(root, { patterns: options.ignore ?? [], files });
  rules.onProblem = (file, { message }) => printWarning(`${shownPath(file)}: ${message}`);
  process.stdout.write(`${sentenceOf(path, rules.decide(path, directory))}\n`);
  if (stats === undefined) process.stderr.write(`(nothing is at ${shownPath(path)} now)\n`);
}

/** `build/a.o is ignored: .confundoignore:3: *.o` */
function sentenceOf(path: string, { ignored, rule, matched }: Verdict): string {
  const where =
    rule === undefined ? "no rule matches" : `${shownPath(rule.source)}:${rule.line}: ${shownPath(rule.pattern)}`;
  const through = matched === path ? "" : ` with its folder ${shownPath(matched)}`;
  return `${shownPath(path)} is ${ignored ? "ignored" : "mirrored"}${through}: ${where}`;
}

/** A path as a person gives it: absolute, relative to the folder, or to where they are. */
function insideOf(root: string, folder: string, asked: string): string {
  const inFolder = relative(root, isAbsolute(asked) ? resolve(asked) : resolve(root, asked));
  const inGiven = relative(absolutePath(folder), absolutePath(asked));
  const there = (path: string): boolean =>
    lstatSync(systemPath(join(root, path)), { throwIfNoEntry: false }) !== undefined;
  const candidates = [inFolder, inGiven].filter(
    (path) => path !== "" && path !== ".." && !path.startsWith(`..${sep}`) && !isAbsolute(path),
  );
  const [path = candidates[0]] = candidates.filter(there);
  if (path === undefined) throw new UsageError(`${shownPath(asked)} is not inside ${shownPath(folder)}.`);
  return path.split(sep).join("/");
}
