/**
 * Limits a wait for a condition, in milliseconds. It only ends a test that would wait for ever, so it is far longer than
 * anything takes on a busy machine: no test may pass or fail by how long something took.
 */
export const PATIENCE_MS = 180_000;

/** Limits a whole test or hook, which may wait for several conditions, in milliseconds. */
export const TEST_LIMIT_MS = 360_000;
