/** Which home the commands beside the data are about. */
import fs from "node:fs";
import { join, resolve } from "node:path";
import { ownFolder, readSecret, stateFolder, writeSecret } from "../secure/index.js";
import { type Auth, createAuth, type Database, HomeState, openDatabase } from "../server/index.js";
import { shownPath, UsageError } from "./report.js";

export interface HomeOption {
  /** `--dir DIR`. */
  readonly dir?: string;
}

/** A home as its own machine's command line has it: everything is allowed. */
export interface OpenHome {
  /** The home's folder, absolute. */
  readonly dir: string;
  readonly state: HomeState;
  readonly database: Database;
  readonly auth: Auth;
}

/**
 * The folder of the home that is meant: `--dir`, else `CONFUNDO_DIR`, else the current folder where that is one, else the one
 * that this user served last.
 * @throws UsageError when there is none
 */
export function findHome({ dir }: HomeOption): HomeState {
  const given = dir ?? process.env.CONFUNDO_DIR;
  if (given !== undefined && given !== "") {
    const state = new HomeState(realPath(given));
    if (state.exists) return state;
    throw new UsageError(`${shownPath(given)} is no home of mirrors: there is no .confundo with a database in it.`);
  }
  for (const candidate of [process.cwd(), lastHome()]) {
    const state = candidate === undefined ? undefined : new HomeState(candidate);
    if (state?.exists) return state;
  }
  throw new UsageError(
    "Which server is meant? Say --dir DIR (as in `confundo serve DIR`), set CONFUNDO_DIR, or start this in DIR, on the machine " +
      "that the server runs on.",
  );
}

/** Opens the home for `work`, whether its server runs or not, and closes it. */
export async function withHome<T>(option: HomeOption, work: (home: OpenHome) => Promise<T>): Promise<T> {
  const state = findHome(option);
  const { database: url } = state.settings();
  const database = await openDatabase(url === undefined ? { path: state.database } : { url });
  try {
    return await work({ dir: resolve(state.folder, ".."), state, database, auth: createAuth({ database }) });
  } finally {
    await database.close();
  }
}

/** For {@link findHome}, later. */
export function rememberHome(dir: string): void {
  try {
    ownFolder(stateFolder());
    writeSecret(lastHomeFile(), `${dir}\n`);
  } catch {
    // It only saves typing.
  }
}

function lastHome(): string | undefined {
  try {
    return readSecret(lastHomeFile())?.trimEnd();
  } catch {
    return undefined;
  }
}

function lastHomeFile(): string {
  return join(stateFolder(), "last-home");
}

function realPath(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return resolve(path);
  }
}
