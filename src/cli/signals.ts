/**
 * Signals that ask a program to end, handled in one way by all commands. The listeners stay for the whole life of the process, so
 * that at no moment a signal has its default action.
 *
 * - A command that called {@link untilSignal} ends in an orderly way at the first signal. Others end at once.
 * - A second signal ends any command at once, and so does {@link ORDERLY_MOST_MS} without an end.
 * - What ends at once, or before it is done, dies of the signal: a shell reports 128 plus its number, and stops its own loop.
 */
import { printError } from "./report.js";

/** SIGHUP: the terminal was closed. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"] as const;

/** Bounds the time that an orderly end may take. */
const ORDERLY_MOST_MS = 15_000;

/**
 * Signals within this time of the first are the same request: npm and others pass on a ^C that the terminal has sent to the whole
 * group already.
 */
const SAME_REQUEST_MS = 300;

let first: { readonly signal: NodeJS.Signals; readonly atMs: number } | undefined;
const waiting: ((signal: NodeJS.Signals) => void)[] = [];

/** Thrown by a command that a signal has ended before it was done. The program dies of that signal. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals, message: string) {
    super(message);
    this.signal = signal;
  }
}

/** To be called once, before anything else. */
export function handleSignals(): void {
  for (const signal of SIGNALS) process.on(signal, take);
}

/** Resolves at the first signal. From the call on, the command has to end by itself when that comes. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    if (first === undefined) waiting.push(resolve);
    else resolve(first.signal);
  });
}

/** True once a signal has asked for the end. */
export function isEnding(): boolean {
  return first !== undefined;
}

/** Ends the process as the signal does by default. */
export function dieOf(signal: NodeJS.Signals): void {
  restoreTerminal();
  process.removeListener(signal, take);
  process.kill(process.pid, signal);
}

function take(signal: NodeJS.Signals): void {
  const now = performance.now();
  if (first !== undefined) {
    if (now - first.atMs >= SAME_REQUEST_MS) dieOf(signal);
    return;
  }
  first = { signal, atMs: now };
  if (waiting.length === 0) {
    dieOf(signal);
    return;
  }
  setTimeout(() => {
    printError(new Error(`Ended after ${ORDERLY_MOST_MS / 1000} s without an orderly end, which ${signal} asked for.`));
    process.exit(1);
  }, ORDERLY_MOST_MS).unref();
  for (const resolve of waiting.splice(0)) resolve(signal);
}

/** Ctrl-C at a prompt, which reads single keys. Node does so by itself only where nothing listens to the signal. */
function restoreTerminal(): void {
  if (process.stdin.isTTY && process.stdin.isRaw) process.stdin.setRawMode(false);
}
