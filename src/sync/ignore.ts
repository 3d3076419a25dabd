/**
 * What a mirror leaves alone, on both sides: patterns of the command line, `.confundoignore` at any level and, on
 * request, `.gitignore`, with the semantics and the precedence of git.
 *
 * - `*` matches within one part of a path, `**` across parts, `?` one character (with git one byte), `[a-z]` and
 *   `[!a-z]` a class, `\` takes the next character as it is; `!` at the start takes back what an earlier rule ignored.
 * - A pattern without a slash (`*.log`) matches a name at any depth; with one (`build/out`, `/dist`) it starts at
 *   the folder of its file. A slash at the end (`cache/`) matches folders only.
 * - The command line decides before files, deeper files before those above, `.confundoignore` before the `.gitignore`
 *   beside it, and of one file the last rule that matches.
 * - What is below an ignored folder is ignored with it; no rule takes that back.
 */
import { lstatSync, readFileSync } from "node:fs";
import { SyncError, systemCode } from "./errors.js";
import { systemPath } from "./names.js";
import { ancestorsOf, isWithin, parentOf } from "./path.js";
import { linesOf, type Rule, RuleSet } from "./rules.js";

/** Whether to leave `path` alone. `directory` says whether it is a folder (a `cache/` pattern asks). */
export type Ignore = (path: string, directory: boolean) => boolean;

/** Ignores nothing. */
export const ignoreNothing: Ignore = () => false;

/** Compiles patterns into one predicate over paths. Throws a {@link SyncError} `ERR_PATTERN`. */
export function ignorePatterns(patterns: readonly string[]): Ignore {
  return patterns.length === 0 ? ignoreNothing : new IgnoreRules("", { patterns, files: [] }).ignores;
}

export interface IgnoreOptions {
  /** Patterns that decide before those of any file. */
  readonly patterns?: readonly string[] | undefined;
  /** Names of ignore files, from the weakest to the strongest. Default `.confundoignore`. */
  readonly files?: readonly string[] | undefined;
}

/** Why a path is ignored, or is not. */
export interface Verdict {
  readonly ignored: boolean;
  /** The rule that decides; none where no rule matches. */
  readonly rule?: Rule;
  /** What the rule matched: the path, or the folder above it that is ignored. */
  readonly matched: string;
}

export const CONFUNDOIGNORE = ".confundoignore";
export const GITIGNORE = ".gitignore";

/** One folder's ignore files, the strongest first. */
interface Level {
  readonly text: string;
  readonly sets: readonly RuleSet[];
}

/** Every class is closed and every backslash has what it stands before. In a file git overlooks what is not. */
const COMPLETE = /^(?:[^\\[]|\\.|\[[!^]?\]?(?:\\.|[^\]\\])*\])*$/su;
const NO_LEVEL: Level = { text: "", sets: [] };

/** The rules of one folder. Ignore files are read when a path beside or below them is asked about. */
export class IgnoreRules {
  /** {@link decide} as a predicate. */
  readonly ignores: Ignore = (path, directory) => this.decide(path, directory).ignored;
  /** Called when an ignore file turns out to be another one than it was. */
  onChange: () => void = () => {};
  /** Called for an ignore file that is there and cannot be used; its rules do not count then. */
  onProblem: (path: string, error: SyncError) => void = () => {};
  readonly #folder: string;
  readonly #files: readonly string[];
  readonly #given: RuleSet;
  readonly #levels = new Map<string, Level>();
  /** What the ignore files of a folder said when they were read last. */
  readonly #known = new Map<string, string>();
  readonly #parsed = new Map<string, { readonly text: string; readonly set: RuleSet }>();
  /** The folder asked about last, known not to be ignored. */
  #open: string | undefined;

  constructor(folder: string, { patterns = [], files = [CONFUNDOIGNORE] }: IgnoreOptions = {}) {
    this.#folder = folder;
    this.#files = files;
    const hopeless = patterns.find((pattern) => !COMPLETE.test(pattern));
    if (hopeless !== undefined) {
      throw new SyncError("ERR_PATTERN", `the pattern ${hopeless} can match nothing: a [ or \\ in it has no end`);
    }
    this.#given = new RuleSet("--ignore", patterns);
  }

  decide(path: string, directory: boolean): Verdict {
    const parent = parentOf(path);
    if (parent !== this.#open && parent !== "") {
      for (const ancestor of ancestorsOf(path)) {
        const verdict = this.#alone(ancestor, true);
        if (verdict.ignored) return verdict;
      }
    }
    this.#open = parent;
    return this.#alone(path, directory);
  }

  /**
   * Ignore files are read anew where something may have changed: at and below `paths`, or everywhere. Says whether
   * rules may be different by now, so that a look at everything is needed.
   */
  refresh(paths?: Iterable<string>): boolean {
    if (this.#files.length === 0) return false;
    this.#open = undefined;
    const touched = paths === undefined ? undefined : [...paths];
    if (touched === undefined || touched.some((path) => this.#isRuleFile(path))) {
      this.#levels.clear();
      return touched !== undefined;
    }
    for (const folder of this.#levels.keys()) {
      if (touched.some((path) => isWithin(folder, path))) this.#levels.delete(folder);
    }
    return false;
  }

  #isRuleFile(path: string): boolean {
    return this.#files.includes(path.slice(path.lastIndexOf("/") + 1));
  }

  /** What the rules say about the path itself, from the strongest down. */
  #alone(path: string, directory: boolean): Verdict {
    const verdict = (rule: Rule): Verdict => ({ ignored: !rule.negated, rule, matched: path });
    const given = this.#given.decides(path, directory);
    if (given !== undefined) return verdict(given);
    if (this.#files.length > 0) {
      for (let place = path; place !== ""; ) {
        place = parentOf(place);
        const inside = place === "" ? path : path.slice(place.length + 1);
        for (const set of this.#level(place).sets) {
          const rule = set.decides(inside, directory);
          if (rule !== undefined) return verdict(rule);
        }
      }
    }
    return { ignored: false, matched: path };
  }

  #level(folder: string): Level {
    let level = this.#levels.get(folder);
    if (level === undefined) {
      level = this.#read(folder);
      this.#levels.set(folder, level);
      const before = this.#known.get(folder);
      this.#known.set(folder, level.text);
      if (before !== undefined && before !== level.text) this.onChange();
    }
    return level;
  }

  #read(folder: string): Level {
    const sets: RuleSet[] = [];
    let whole = "";
    for (const name of this.#files) {
      const path = folder === "" ? name : `${folder}/${name}`;
      try {
        const file = systemPath(`${this.#folder}/${path}`);
        // Neither a link nor a pipe is an ignore file.
        if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) continue;
        const text = readFileSync(file, "utf8");
        sets.unshift(this.#parse(path, text));
        whole += `${name}\0${text}\0`;
      } catch (error) {
        this.#takeProblem(path, error);
      }
    }
    return sets.length === 0 ? NO_LEVEL : { text: whole, sets };
  }

  /** Ignore files are read again at each scan, and parsed only where they are others. */
  #parse(path: string, text: string): RuleSet {
    const parsed = this.#parsed.get(path);
    if (parsed?.text === text) return parsed.set;
    const set = new RuleSet(path, linesOf(text));
    this.#parsed.set(path, { text, set });
    return set;
  }

  #takeProblem(path: string, error: unknown): void {
    const code = systemCode(error) ?? "ERR_INTERNAL";
    if (code === "ENOENT" || code === "ENOTDIR") return;
    const message = "this ignore file cannot be read, so its rules do not count";
    this.onProblem(path, error instanceof SyncError ? error : new SyncError(code, message, { cause: error, path }));
  }
}
