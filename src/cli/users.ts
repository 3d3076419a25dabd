/** `confundo user …` and `confundo token …`. */
import type { Access, Token, TokenScope } from "../server/index.js";
import { type HomeOption, withHome } from "./home.js";
import { parseDuration } from "./options.js";
import { shownPath, UsageError } from "./report.js";
import { printJson, printTable, shownTime } from "./table.js";

const LOCAL = { kind: "local" } as const;
const MOST_INPUT = 4096;
const TOKEN_MS = 90 * 86_400_000;

interface ListOptions extends HomeOption {
  readonly json?: boolean;
}

export interface AddUserOptions extends HomeOption {
  readonly admin?: boolean;
  readonly folder?: readonly string[];
  readonly readOnly?: boolean;
}

export async function addUser(name: string, options: AddUserOptions): Promise<void> {
  const access: Access = options.readOnly ? "read" : "write";
  const grants = (options.folder ?? []).map((folder) => ({ folder, access }));
  await withHome(options, async ({ auth }) => {
    const password = await askPassword(name);
    await auth.addUser(LOCAL, { name, password, role: options.admin ? "admin" : "user", grants });
    process.stdout.write(`added ${shownPath(name)}\n`);
  });
}

export async function setPassword(name: string, options: HomeOption & { readonly endTokens?: boolean }): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const { endTokens = false } = options;
    await auth.setPassword(LOCAL, name, await askPassword(name), { endTokens });
    process.stdout.write(`set the password of ${shownPath(name)}${endTokens ? " and ended the tokens" : ""}\n`);
  });
}

export async function removeUser(name: string, options: HomeOption): Promise<void> {
  await withHome(options, async ({ auth }) => {
    await auth.removeUser(LOCAL, name);
    process.stdout.write(`removed ${shownPath(name)}\n`);
  });
}

export async function listUsers(options: ListOptions): Promise<void> {
  await withHome(options, async ({ auth, database }) => {
    const users = await auth.users(LOCAL);
    const rows = await Promise.all(
      users.map(async ({ id, name, role, createdAt }) => {
        const grants = await database.grants.of("user", id);
        return { id, name, role, createdAt, grants: grants.map(({ folder, access }) => ({ folder, access })) };
      }),
    );
    if (options.json) for (const row of rows) printJson(row);
    else {
      const folders = (row: (typeof rows)[number]): string => (row.role === "admin" ? "(all)" : scopesOf(row.grants));
      printTable(
        ["NAME", "ROLE", "FOLDERS", "SINCE"],
        rows.map((row) => [row.name, row.role, folders(row), shownTime(row.createdAt)]),
      );
    }
  });
}

export interface CreateTokenOptions extends HomeOption {
  readonly user: string;
  readonly folder?: readonly string[];
  readonly write?: boolean;
  readonly metrics?: boolean;
  readonly expires?: string;
}

export async function createToken(name: string, options: CreateTokenOptions): Promise<void> {
  const { user, folder, expires, metrics = false, write = false } = options;
  if (metrics && (write || folder !== undefined)) {
    throw new UsageError("A token for metrics can do nothing else: leave --write and --folder out.");
  }
  const access: TokenScope["access"] = metrics ? "metrics" : write ? "write" : "read";
  const scopes = (folder ?? [null]).map((each) => ({ folder: each, access }));
  const expiresInMs = expires === "never" ? null : expires === undefined ? TOKEN_MS : parseDuration(expires);
  await withHome(options, async ({ auth }) => {
    const { token } = await auth.createToken(LOCAL, { user, name, scopes, expiresInMs });
    process.stdout.write(`${token}\n`);
  });
}

export async function revokeToken(token: string, options: HomeOption): Promise<void> {
  await withHome(options, async ({ auth }) => {
    await auth.revokeToken(LOCAL, token);
    process.stdout.write(`revoked ${shownPath(token)}\n`);
  });
}

/** Those made by hand; the sessions of logins come and go. */
export async function listTokens(options: ListOptions): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const tokens = (await auth.tokens(LOCAL)).filter(({ kind }) => kind === "api");
    const names = new Map((await auth.users(LOCAL)).map(({ id, name }) => [id, name]));
    const user = ({ userId }: Token): string => names.get(userId) ?? userId;
    if (options.json) {
      for (const { hash: _, ...token } of tokens) printJson({ ...token, user: names.get(token.userId) });
      return;
    }
    printTable(
      ["ID", "NAME", "USER", "GOOD FOR", "UNTIL", "USED", ""],
      tokens.map((token) => [
        token.id,
        token.name,
        user(token),
        scopesOf(token.scopes),
        shownTime(token.expiresAt),
        shownTime(token.lastUsedAt),
        token.revokedAt === null ? "" : `revoked ${shownTime(token.revokedAt)}`,
      ]),
    );
  });
}

function scopesOf(scopes: readonly TokenScope[]): string {
  const shown = ({ folder, access }: TokenScope): string =>
    access === "metrics" ? "(metrics)" : `${folder ?? "(all)"}${access === "read" ? " (read)" : ""}`;
  return scopes.map(shown).join(", ");
}

/** Asked for twice on a terminal; else the first line of standard input. */
async function askPassword(name: string): Promise<string> {
  if (process.stdin.isTTY !== true) return firstLine();
  const { isCancel, password } = await import("@clack/prompts");
  const first = await password({ message: `Password for ${name}` });
  const second = isCancel(first) ? first : await password({ message: "Once more" });
  if (isCancel(first) || isCancel(second)) throw new UsageError("Nothing was changed.");
  if (first !== second) throw new UsageError("These are two different passwords. Nothing was changed.");
  return first;
}

async function firstLine(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
    if (text.length > MOST_INPUT || text.includes("\n")) break;
  }
  const [line = ""] = text.split(/\r?\n/);
  if (line === "") throw new UsageError("No password came in on standard input.");
  return line;
}
