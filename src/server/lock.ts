/**
 * One server for each home. What holds it is a lock of the operating system, taken through SQLite on a file that stays
 * empty: however a server ends, also by kill -9, the next one can start at once.
 */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SyncError } from "../sync/index.js";
import type { HomeState } from "./state.js";

/** A server that is just being killed is waited for. */
const WAIT_MS = 500;
const SQLITE_BUSY = 5;

/**
 * Holds the home until the result is called, or the process ends.
 * @throws SyncError ERR_HOME_BUSY where another server does
 */
export function lockHome(state: HomeState): () => void {
  const file = join(state.folder, "serve.lock");
  closeSync(openSync(file, "a", 0o600));
  const lock = new DatabaseSync(file, { timeout: WAIT_MS });
  try {
    lock.exec("pragma journal_mode = memory");
    lock.exec("begin exclusive");
  } catch (error) {
    lock.close();
    if (((error as { errcode?: number }).errcode ?? 0) % 256 === SQLITE_BUSY) throw busy(state);
    process.emitWarning(`Nothing keeps a second server from ${state.dir}, as the file system has no locks: ${error}`);
    return () => {};
  }
  return () => lock.close();
}

function busy(state: HomeState): SyncError {
  const { host, port } = state.settings();
  const where = host === undefined || port === undefined ? "" : `, last seen at ${host}:${port}`;
  const advice = "End it, or choose another folder";
  return new SyncError("ERR_HOME_BUSY", `another confundo serve keeps its mirrors in ${state.dir}${where}. ${advice}`);
}
