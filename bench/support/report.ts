/** Alternating rounds, medians, tables. */
import os from "node:os";
import { isInstalled, type Way } from "./peers.js";

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** What a reader needs to judge the figures by. */
export function describeMachine(): string {
  const [first] = os.cpus();
  const load = os.loadavg().map((value) => value.toFixed(2));
  return `Node ${process.versions.node}, ${os.type()} ${os.release()}, ${os.cpus().length} x ${first?.model ?? "?"}, load average ${load.join(" ")}`;
}

export interface RoundsOptions<T> {
  readonly rounds: number;
  readonly ways: readonly Way[];
  /** A way that has taken so long sits out the rounds that are left. */
  readonly secondsPerWay?: number;
  measure(way: Way, round: number): Promise<T>;
  /** One raw line. */
  line(result: T): string;
}

/** Measures each way once a round, in turns, and prints every result. What fails or is not installed is said and left out. */
export async function alternate<T>(options: RoundsOptions<T>): Promise<Map<Way, T[]>> {
  const { rounds, ways, secondsPerWay = Number.POSITIVE_INFINITY } = options;
  const results = new Map<Way, T[]>();
  const took = new Map<Way, number>();
  for (const way of ways) {
    if (isInstalled(way)) results.set(way, []);
    else console.log(`${way.name}: not installed`);
  }
  for (let round = 0; round < rounds; round++) {
    // Nobody is always first.
    const order = [...results.keys()];
    const turned = [...order.slice(round % order.length), ...order.slice(0, round % order.length)];
    for (const way of turned) {
      if ((took.get(way) ?? 0) > secondsPerWay) continue;
      const began = performance.now();
      const prefix = `  ${round + 1} ${way.name.padEnd(24)}`;
      try {
        const result = await options.measure(way, round);
        results.get(way)?.push(result);
        console.log(prefix, options.line(result));
      } catch (error) {
        console.log(prefix, `FAILED: ${error instanceof Error ? error.message : error}`);
      }
      took.set(way, (took.get(way) ?? 0) + (performance.now() - began) / 1000);
    }
  }
  return results;
}

export interface Column<T> {
  readonly title: string;
  readonly of: (results: readonly T[]) => string;
}

/** A table in Markdown, a row for each way that has results. */
export function printTable<T>(results: ReadonlyMap<Way, readonly T[]>, columns: readonly Column<T>[]): void {
  const rows = [["", ...columns.map(({ title }) => title)]];
  for (const [way, values] of results) {
    if (values.length > 0) rows.push([way.name, ...columns.map((column) => column.of(values))]);
  }
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0), 3)) ?? [];
  const write = (row: readonly string[]): void =>
    console.log(
      `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`,
    );
  rows.forEach((row, i) => {
    write(row);
    if (i === 0)
      console.log(`|${widths.map((width, at) => `${"-".repeat(width + 1)}${at === 0 ? "-" : ":"}`).join("|")}|`);
  });
}

/** The ways whose names contain one of the given comma-separated words; all without any. */
export function chosen(ways: readonly Way[], words: string | undefined): readonly Way[] {
  if (words === undefined) return ways;
  return ways.filter(({ name }) => words.split(",").some((word) => name.includes(word)));
}
