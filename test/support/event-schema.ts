/** Checks events against docs/events.md. */
import { readFileSync } from "node:fs";

const KINDS = ["file", "directory", "symlink"];
const STEPS = ["mkdir", "put", "link", "touch", "check", "rename", "hold", "move", "remove"];

const CHECKS: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number" && Number.isFinite(value) && value >= 0,
  boolean: (value) => typeof value === "boolean",
  true: (value) => value === true,
  kind: (value) => KINDS.includes(value as string),
  "string[]": (value) => Array.isArray(value) && value.every((each) => typeof each === "string"),
  "step[]": (value) => Array.isArray(value) && value.every(isStep),
};

function isStep(value: unknown): boolean {
  const { do: what, kind, path, from, ...more } = value as Record<string, unknown>;
  const known = STEPS.includes(what as string) && KINDS.includes(kind as string) && typeof path === "string";
  return known && (from === undefined || typeof from === "string") && Object.keys(more).length === 0;
}

export class EventSchema {
  readonly version: number;
  /** By type: the fields with their types as the page has them. */
  readonly types: ReadonlyMap<string, ReadonlyMap<string, string>>;

  constructor(page: string = readFileSync(new URL("../../docs/events.md", import.meta.url), "utf8")) {
    this.version = Number(/\*\*Version (\d+)\*\*/.exec(page)?.[1]);
    const sections = page.split(/^### /m).slice(1);
    this.types = new Map(
      sections.map((section) => {
        const rows = [...section.matchAll(/^\| `(\w+)` \| (\S+) \|/gm)].map(
          ([, field, type]) => [field, type] as const,
        );
        return [/^`(\w+)`/.exec(section)?.[1] ?? "", new Map(rows as [string, string][])];
      }),
    );
  }

  /** What is wrong with an event; empty for nothing. */
  problems(event: Readonly<Record<string, unknown>>): string[] {
    const { type, ...fields } = event;
    const known = this.types.get(String(type));
    if (known === undefined) return [`there is no event ${String(type)}`];
    const problems = Object.keys(fields)
      .filter((field) => !known.has(field))
      .map((field) => `${String(type)} has a field ${field} that is not in the page`);
    for (const [field, wanted] of known) {
      const value = fields[field];
      if (value === undefined && wanted.endsWith("?")) continue;
      const check = CHECKS[wanted.replace("?", "")];
      if (check === undefined) problems.push(`the page has a type ${wanted} that is none`);
      else if (!check(value))
        problems.push(`${String(type)}.${field} should be ${wanted} and is ${JSON.stringify(value)}`);
    }
    return problems;
  }
}
