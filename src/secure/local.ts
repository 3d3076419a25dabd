/**
 * Pairing without a code between programs of one user on one machine. A server notes in the user's state, under its pin, where
 * its own code for that is. Who can read that code can read everything the server has anyway.
 */
import fs from "node:fs";
import { join } from "node:path";
import { isCode, isPin } from "./code.js";
import { isOwnFolder, ownFolder, readSecret, stateFolder, writeSecret } from "./files.js";

interface Note {
  readonly codeFile: string;
  readonly pid: number;
}

/**
 * Notes where the server with this pin keeps its code for programs of this user. Returns what takes the note away.
 * @throws SecureError ERR_STATE when the state's folder is another user's
 */
export function announceLocally(pin: string, codeFile: string, state: string = stateFolder()): () => void {
  const folder = notesIn(state);
  ownFolder(state);
  ownFolder(folder);
  sweep(folder);
  const file = join(folder, `${pin}.json`);
  const note: Note = { codeFile, pid: process.pid };
  writeSecret(file, JSON.stringify(note));
  return () => {
    if (noteIn(file)?.pid === process.pid) fs.rmSync(file, { force: true });
  };
}

/** The code of the server with this pin, where it is this user's and runs here. */
export function localCode(pin: string, state: string = stateFolder()): string | undefined {
  const folder = notesIn(state);
  if (!isPin(pin) || !isOwnFolder(folder)) return undefined;
  const note = noteIn(join(folder, `${pin}.json`));
  if (note === undefined) return undefined;
  try {
    const code = readSecret(note.codeFile)?.trim();
    return code !== undefined && isCode(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the host is this machine, going by its name. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1|(::ffff:)127(\.\d{1,3}){3})$/i.test(host);
}

function notesIn(state: string): string {
  return join(state, "running");
}

function noteIn(file: string): Note | undefined {
  try {
    const { codeFile, pid } = JSON.parse(readSecret(file) ?? "") as Record<string, unknown>;
    return typeof codeFile === "string" && typeof pid === "number" ? { codeFile, pid } : undefined;
  } catch {
    return undefined;
  }
}

/** Notes of servers that were killed. */
function sweep(folder: string): void {
  for (const name of fs.readdirSync(folder)) {
    const file = join(folder, name);
    const note = name.endsWith(".json") ? noteIn(file) : undefined;
    if (note !== undefined && !runs(note.pid)) fs.rmSync(file, { force: true });
  }
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
