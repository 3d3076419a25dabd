/** Files and folders that only their owner may read, and that are there whole or not at all. */
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { makeFolder } from "../files/make-folder.js";
import { SecureError } from "./errors.js";

const OTHERS = 0o077;

/** Where this user's programs keep what they know: `$XDG_STATE_HOME/confundo`, or what the system has for it. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (process.platform === "win32") return join(env.LOCALAPPDATA || join(homedir(), "AppData", "Local"), "confundo");
  return join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "confundo");
}

/**
 * Makes the folder where it is missing, and closes it to others.
 * @throws SecureError ERR_STATE when it is no folder, or another user's
 */
export function ownFolder(path: string): void {
  makeFolder(path, 0o700);
  const stats = fs.lstatSync(path);
  if (!stats.isDirectory()) throw new SecureError("ERR_STATE", `${path} is not a folder. Move it away.`);
  requireOwner(path, stats);
  if (process.platform !== "win32" && (stats.mode & OTHERS) !== 0) fs.chmodSync(path, 0o700);
}

/** Whether it is a folder, this user's and closed to others: so that what is in it can be relied on. */
export function isOwnFolder(path: string): boolean {
  const stats = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || !stats.isDirectory()) return false;
  return process.platform === "win32" || (stats.uid === process.getuid?.() && (stats.mode & OTHERS) === 0);
}

/**
 * What the file holds; undefined where there is none.
 * @throws SecureError ERR_STATE when it is another user's, or others may read it
 */
export function readSecret(path: string): string | undefined {
  const stats = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (!stats.isFile()) throw new SecureError("ERR_STATE", `${path} is not a regular file. Move it away.`);
  requireOwner(path, stats);
  if (process.platform !== "win32" && (stats.mode & OTHERS) !== 0) {
    throw new SecureError(
      "ERR_STATE",
      `Other users may read ${path}, which holds a secret. If nobody has, close it with: chmod 600 ${path}`,
    );
  }
  return fs.readFileSync(path, "utf8");
}

/** Keeps a secret where none is kept yet. Of several programs that do so at once one is first: returns what is there then. */
export function createSecret(path: string, content: string): string {
  const temporary = writeTemporary(path, content);
  try {
    fs.linkSync(temporary, path);
    flushFolder(dirname(path));
    return content;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return readSecret(path) ?? content;
    // A file system without links.
    fs.renameSync(temporary, path);
    return content;
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

/** Replaces what the file holds, at once. */
export function writeSecret(path: string, content: string): void {
  const temporary = writeTemporary(path, content);
  try {
    fs.renameSync(temporary, path);
    flushFolder(dirname(path));
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

/** As {@link writeSecret}, but a crash of the machine may take it, or leave the file damaged. */
export function replaceSecret(path: string, content: string): void {
  const temporary = writeTemporary(path, content, false);
  try {
    fs.renameSync(temporary, path);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

function writeTemporary(path: string, content: string, durable = true): string {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  const fd = fs.openSync(temporary, "wx", 0o600);
  try {
    fs.writeSync(fd, content);
    if (durable) fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  return temporary;
}

function flushFolder(path: string): void {
  if (process.platform === "win32") return;
  const fd = fs.openSync(path, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function requireOwner(path: string, stats: fs.Stats): void {
  const uid = process.getuid?.();
  if (uid === undefined || stats.uid === uid) return;
  throw new SecureError(
    "ERR_STATE",
    `${path} belongs to another user (uid ${stats.uid}, and this program runs as ${uid}). Run it as that user, or change the owner.`,
  );
}
