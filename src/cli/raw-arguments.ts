/** Arguments whose bytes are not UTF-8, which Node hands over with U+FFFD in their place. */
import { readFileSync } from "node:fs";
import { nameFromBytes } from "../sync/index.js";

const LOST = "\ufffd";

/**
 * The arguments as the shell gave them: bytes that are not UTF-8 as lone surrogates, as in all names of this package. Linux only;
 * elsewhere, and where nothing is lost, as they are.
 */
export function rawArguments(argv: readonly string[], commandLine: () => Buffer = readCommandLine): string[] {
  if (!argv.some((argument) => argument.includes(LOST))) return [...argv];
  const given = split(commandLine()).slice(-argv.length);
  return argv.map((argument, at) => {
    const raw = given[at];
    // What the command line says is taken only where Node has made this of it.
    return argument.includes(LOST) && raw?.toString() === argument ? nameFromBytes(raw) : argument;
  });
}

function readCommandLine(): Buffer {
  try {
    return readFileSync("/proc/self/cmdline");
  } catch {
    return Buffer.alloc(0);
  }
}

/** Each argument ends with a zero byte. */
function split(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    found.push(bytes.subarray(at, end < 0 ? bytes.length : end));
    at = end < 0 ? bytes.length : end + 1;
  }
  return found;
}
