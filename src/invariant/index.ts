/**
 * Checks of what must always hold. They run in tests, in simulations and while fuzzing, and cost nothing in a built package: there
 * `tsup` makes the constant false. Write `if (CONFUNDO_ASSERTIONS) invariant(…)`, with all that is computed only for it inside. A
 * method that only checks begins with `if (!CONFUNDO_ASSERTIONS) return;`, which leaves an empty body.
 */
declare global {
  /** Whether invariants are checked. Replaced when a package is built; defined by vitest and the fuzzer. */
  const CONFUNDO_ASSERTIONS: boolean;
}

/** An invariant that does not hold: a bug of this package. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** @throws InvariantError where the condition is false */
export function invariant(condition: boolean, what: string): asserts condition {
  if (CONFUNDO_ASSERTIONS && !condition) throw new InvariantError(`invariant broken: ${what}`);
}

/**
 * Counts the turns of the loops that a peer can lengthen, where invariants are checked: tests bound by it what a datagram costs,
 * without a clock. Write `if (CONFUNDO_ASSERTIONS) steps.taken++`.
 */
export const steps: { taken: number } = { taken: 0 };
