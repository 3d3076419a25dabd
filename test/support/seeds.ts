/**
 * Runs a scenario with many seeds. A failure's message ends with the line that replays its seed.
 *
 * CONFUNDO_SEED=n runs that one only; CONFUNDO_SEEDS=n runs seeds 1 to n.
 */
export function forEachSeed(file: string, testName: string, count: number, scenario: (seed: number) => void): void {
  for (const seed of seeds(count)) {
    try {
      scenario(seed);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      error.message += `\n\nReplay it with:\n${replayLine(file, testName, seed)}\n`;
      throw error;
    }
  }
}

export function replayLine(file: string, testName: string, seed: number): string {
  return `CONFUNDO_SEED=${seed} npx vitest run ${file} -t "${testName}"`;
}

function seeds(count: number): number[] {
  const only = process.env.CONFUNDO_SEED;
  if (only !== undefined) return [Number(only)];
  const wanted = Number(process.env.CONFUNDO_SEEDS ?? count);
  return Array.from({ length: wanted }, (_, i) => i + 1);
}
