import { writeSync } from "node:fs";

/** How many characters of log are gathered before they are written in the middle of a turn of the event loop. */
const BATCH_CHARACTERS = 32 * 1024;

/** Writes the course programs' log lines to stdout, a batch for each turn of the event loop, and the rest at the exit. */
export function traceToStdout(): (line: string) => void {
  let batch = "";
  let scheduled = false;
  const flush = () => {
    scheduled = false;
    const lines = batch;
    batch = "";
    if (lines !== "") process.stdout.write(lines);
  };
  process.on("exit", () => {
    if (batch !== "") writeFully(batch);
  });
  return (line) => {
    batch += `${line}\n`;
    if (batch.length >= BATCH_CHARACTERS) flush();
    if (scheduled) return;
    scheduled = true;
    setImmediate(flush);
  };
}

/** At the exit nothing asynchronous happens any more. A reader that has gone does not matter then. */
function writeFully(text: string): void {
  let bytes = Buffer.from(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(writeSync(process.stdout.fd, bytes));
  } catch {
    return;
  }
}
