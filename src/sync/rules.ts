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

export class RuleSet {
  readonly rules: readonly Rule[];
  readonly #single: (Matcher | undefined)[] = [];
  readonly #ignoreCase: boolean;
  #any: Matcher;
  #asked = 0;

  /** `lines` as in a file. What makes no sense matches nothing, as with git. */
  constructor(source: string, lines: readonly string[], ignoreCase: boolean = foldsCase()) {
    this.#ignoreCase = ignoreCase;
    this.rules = lines.flatMap((text, index): Rule[] => {
      const pattern = index === 0 ? text.replace(/^\uFEFF/, "") : text;
      if (pattern.trim() === "" || pattern.startsWith("#")) return [];
      return [{ source, line: index + 1, pattern, negated: pattern.startsWith("!") }];
    });
    this.#any = this.#matcher(this.rules);
  }

  /** The last rule that matches `path` itself, which is relative to the place of the file. */
  decides(path: string, directory: boolean): Rule | undefined {
    if (this.rules.length === 0) return undefined;
    const asked = directory ? `${path}/` : path;
    if (++this.#asked % FORGET_AFTER === 0) this.#any = this.#empty().add(this.#any);
    if (!this.#any.test(asked).unignored) return undefined;
    return this.rules.findLast((rule, index) => {
      this.#single[index] ??= this.#matcher([rule]);
      return (this.#single[index] as Matcher).test(asked).unignored;
    });
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

/** The lines of an ignore file. */
export function linesOf(text: string): string[] {
  return text.split(/\r?\n/);
}

function foldsCase(): boolean {
  return process.platform === "win32" || process.platform === "darwin";
}
