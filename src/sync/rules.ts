/**
 * The rules of one ignore file (or of the command line), with the semantics of gitignore(5). Pure. Says which rule
 * decides about one path by itself; folders above it, and other files' rules, are for {@link IgnoreRules}.
 */
import createMatcher, { type Ignore as Matcher } from "ignore";

/** One line of an ignore file. */
export interface Rule {
  /** The file, relative to the mirrored folder, or `--ignore`. */
  readonly source: string;
  /** Counts from 1. */
  readonly line: number;
  /** As it is written there. */
  readonly pattern: string;
  /** `!pattern`: what it matches is not ignored. */
  readonly negated: boolean;
}

/** The matcher remembers every path it was asked about; after so many it starts anew. */
const FORGET_AFTER = 4096;
/** Larger sets are indexed: looking up which rules may match takes longer than trying a few. */
const INDEXED_RULES = 64;

export class RuleSet {
  readonly rules: readonly Rule[];
  readonly #single: (Matcher | undefined)[] = [];
  readonly #ignoreCase: boolean;
  /** Tells whether any rule that is not indexed matches. */
  #any: Matcher | undefined;
  readonly #unindexed: readonly number[];
  readonly #index: LiteralIndex | undefined;
  #asked = 0;

  /** `lines` as in a file. What makes no sense matches nothing, as with git. */
  constructor(source: string, lines: readonly string[], ignoreCase: boolean = foldsCase()) {
    this.#ignoreCase = ignoreCase;
    this.rules = lines.flatMap((text, index): Rule[] => {
      const pattern = index === 0 ? text.replace(/^\uFEFF/, "") : text;
      if (pattern.trim() === "" || pattern.startsWith("#")) return [];
      return [{ source, line: index + 1, pattern, negated: pattern.startsWith("!") }];
    });
    this.#index = this.rules.length > INDEXED_RULES ? new LiteralIndex(this.rules, ignoreCase) : undefined;
    this.#unindexed = this.#index?.unindexed ?? this.rules.map((_, number) => number);
    if (this.#unindexed.length > 0)
      this.#any = this.#matcher(this.#unindexed.map((number) => this.rules[number] as Rule));
  }

  /** The last rule that matches `path` itself, which is relative to the place of the file. */
  decides(path: string, directory: boolean): Rule | undefined {
    if (this.rules.length === 0) return undefined;
    const asked = directory ? `${path}/` : path;
    const found = this.#index === undefined ? [] : this.#index.find(path);
    if (this.#matchesUnindexed(asked)) found.push(...this.#unindexed);
    found.sort((one, other) => other - one);
    const number = found.find((candidate) => this.#matches(candidate, asked));
    return number === undefined ? undefined : this.rules[number];
  }

  #matchesUnindexed(asked: string): boolean {
    if (this.#any === undefined) return false;
    if (++this.#asked % FORGET_AFTER === 0) this.#any = this.#empty().add(this.#any);
    return this.#any.test(asked).unignored;
  }

  #matches(number: number, asked: string): boolean {
    this.#single[number] ??= this.#matcher([this.rules[number] as Rule]);
    return (this.#single[number] as Matcher).test(asked).unignored;
  }

  /**
   * All rules negated: nothing is ever ignored then, so that no folder above a path speaks for it, and `unignored`
   * says that a rule matches the path itself.
   */
  #matcher(rules: readonly Rule[]): Matcher {
    return this.#empty().add(rules.map(({ pattern, negated }) => ({ pattern: negated ? pattern : `!${pattern}` })));
  }

  #empty(): Matcher {
    return createMatcher({ ignorecase: this.#ignoreCase, allowRelativePaths: true });
  }
}

/**
 * Finds the few of many rules that may match a path: a rule matches only paths that contain each of its literal parts, of
 * which the rarest is looked up.
 */
class LiteralIndex {
  /** Rules without any literal part. */
  readonly unindexed: readonly number[];
  readonly #rules = new Map<string, number[]>();
  /** Lengths that literals have. */
  readonly #lengths: readonly number[];
  readonly #ignoreCase: boolean;

  constructor(rules: readonly Rule[], ignoreCase: boolean) {
    this.#ignoreCase = ignoreCase;
    const literals = rules.map(({ pattern }) => literalsOf(this.#folded(pattern)));
    const counts = new Map<string, number>();
    for (const parts of literals) for (const part of new Set(parts)) counts.set(part, (counts.get(part) ?? 0) + 1);
    const unindexed: number[] = [];
    const lengths = new Set<number>();
    for (const [number, parts] of literals.entries()) {
      const rarest = rarestOf(parts, counts);
      if (rarest === undefined) {
        unindexed.push(number);
        continue;
      }
      lengths.add(rarest.length);
      const same = this.#rules.get(rarest);
      if (same === undefined) this.#rules.set(rarest, [number]);
      else same.push(number);
    }
    this.unindexed = unindexed;
    this.#lengths = [...lengths];
  }

  find(path: string): number[] {
    const text = this.#folded(path);
    const found = new Set<number>();
    for (const length of this.#lengths) {
      for (let at = 0; at + length <= text.length; at++) {
        for (const number of this.#rules.get(text.slice(at, at + length)) ?? []) found.add(number);
      }
    }
    return [...found];
  }

  #folded(text: string): string {
    return this.#ignoreCase ? text.toLowerCase() : text;
  }
}

/** Parts of a pattern that stand for themselves: without slashes, blanks, wildcards and what is escaped, before any class. */
function literalsOf(pattern: string): string[] {
  const body = (pattern.startsWith("!") ? pattern.slice(1) : pattern).split("[", 1)[0] ?? "";
  return body.split(/\\.?|[\s*?/]+/su).filter((part) => part !== "");
}

function rarestOf(parts: readonly string[], counts: ReadonlyMap<string, number>): string | undefined {
  let rarest: string | undefined;
  for (const part of parts) {
    const less = rarest === undefined ? -1 : (counts.get(part) ?? 0) - (counts.get(rarest) ?? 0);
    if (less < 0 || (less === 0 && part.length > (rarest?.length ?? 0))) rarest = part;
  }
  return rarest;
}

/** The lines of an ignore file. */
export function linesOf(text: string): string[] {
  return text.split(/\r?\n/);
}

function foldsCase(): boolean {
  return process.platform === "win32" || process.platform === "darwin";
}
