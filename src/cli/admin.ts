/** `confundo invite`, `devices` and `revoke`. */
import { type Auth, type Device, formatAddress, type Invitation, mirrorNameProblem } from "../server/index.js";
import { type HomeOption, withHome } from "./home.js";
import { shownPath, UsageError } from "./report.js";
import { printJson, printTable, shownTime } from "./table.js";

const LOCAL = { kind: "local" } as const;

export interface InviteCommandOptions extends HomeOption {
  readonly readOnly?: boolean;
  readonly admin?: boolean;
  /** Milliseconds. */
  readonly expires: number;
}

export async function invite(name: string, options: InviteCommandOptions): Promise<void> {
  const problem = mirrorNameProblem(name);
  if (problem !== undefined) throw new UsageError(`${shownPath(name)} cannot be a folder's name: ${problem}.`);
  const { readOnly = false, admin = false, expires } = options;
  if (readOnly && admin) throw new UsageError("--admin gives everything and --read-only little: choose one of them.");
  await withHome(options, async ({ auth, state }) => {
    const { host, port } = state.settings();
    if (host === undefined || port === undefined) {
      throw new UsageError(
        "This server has not run yet. Start it once with `confundo serve`, so that its address is known.",
      );
    }
    const { pin } = state.identity();
    const access = readOnly ? "read" : "write";
    const { code } = await auth.invite(LOCAL, { folder: admin ? null : name, access, expiresInMs: expires });
    process.stdout.write(`${formatAddress({ host, port, name, code, pin })}\n`);
    if (process.stderr.isTTY) {
      process.stderr.write(
        `(for one device, until ${shownTime(Date.now() + expires)}: confundo mirror FOLDER 'ADDRESS')\n`,
      );
    }
  });
}

export async function invitations(options: HomeOption & { readonly json?: boolean }): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const [all, known] = await Promise.all([auth.invitations(LOCAL), auth.devices(LOCAL)]);
    if (options.json) {
      for (const { codeHash: _, ...invitation } of all) printJson(invitation);
      return;
    }
    const names = new Map(known.map(({ id, name }) => [id, name]));
    printTable(
      ["ID", "FOLDER", "MADE", "UNTIL", ""],
      all.map((invitation) => [
        invitation.id,
        `${invitation.folder ?? "(all)"}${invitation.access === "read" ? " (read)" : ""}`,
        shownTime(invitation.createdAt),
        shownTime(invitation.expiresAt),
        stateOf(invitation, names),
      ]),
    );
  });
}

function stateOf(invitation: Invitation, names: ReadonlyMap<string, string>): string {
  const { usedAt, usedBy, withdrawnAt, expiresAt } = invitation;
  if (usedAt !== null) return `used ${shownTime(usedAt)} by ${names.get(usedBy ?? "") ?? "a device"}`;
  if (withdrawnAt !== null) return `withdrawn ${shownTime(withdrawnAt)}`;
  return expiresAt <= Date.now() ? "expired" : "open";
}

export async function withdraw(invitation: string, options: HomeOption): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const { id, folder } = await auth.withdraw(LOCAL, invitation);
    process.stdout.write(`withdrew ${id} (${shownPath(folder ?? "all folders")})\n`);
  });
}

export async function devices(options: HomeOption & { readonly json?: boolean }): Promise<void> {
  await withHome(options, async ({ auth, database }) => {
    const all = await auth.devices(LOCAL);
    const rows = await Promise.all(
      all.map(async (device) => ({
        device,
        folders: await foldersOf(device, database.grants.of("device", device.id)),
      })),
    );
    if (options.json) {
      for (const { device, folders } of rows) printJson({ ...device, folders });
      return;
    }
    printTable(
      ["ID", "NAME", "FOLDERS", "PAIRED", "SEEN", ""],
      rows.map(({ device, folders }) => [
        device.id,
        device.name,
        folders,
        shownTime(device.createdAt),
        shownTime(device.lastSeenAt),
        device.revokedAt === null ? "" : `revoked ${shownTime(device.revokedAt)}`,
      ]),
    );
  });
}

async function foldersOf(
  { role }: Device,
  grants: Promise<readonly { readonly folder: string; readonly access: string }[]>,
): Promise<string> {
  if (role === "admin") return "(all)";
  return (await grants).map(({ folder, access }) => (access === "read" ? `${folder} (read)` : folder)).join(", ");
}

export async function revoke(device: string, options: HomeOption): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const { id, name } = await auth.revoke(LOCAL, await whichDevice(auth, device));
    process.stdout.write(`revoked ${shownPath(name)} (${id})\n`);
  });
}

export async function renameDevice(device: string, name: string, options: HomeOption): Promise<void> {
  await withHome(options, async ({ auth }) => {
    const { id } = await auth.renameDevice(LOCAL, await whichDevice(auth, device), name);
    process.stdout.write(`renamed ${shownPath(device)} (${id}) to ${shownPath(name)}\n`);
  });
}

/** Asks on a terminal which one is meant where several devices have the name; elsewhere they are listed as an error. */
async function whichDevice(auth: Auth, wanted: string): Promise<string> {
  const all = await auth.devices(LOCAL);
  const named = all.filter(({ id, name, revokedAt }) => id !== wanted && name === wanted && revokedAt === null);
  const isId = all.some(({ id }) => id === wanted);
  if (isId || named.length < 2 || process.stdin.isTTY !== true || process.stdout.isTTY !== true) return wanted;
  const { isCancel, select } = await import("@clack/prompts");
  const answer = await select({
    message: `Several devices are called ${shownPath(wanted)}. Which one is meant?`,
    options: named.map(({ id, createdAt, lastSeenAt }) => ({
      value: id,
      label: `${id}, paired ${shownTime(createdAt)}, seen ${shownTime(lastSeenAt)}`,
    })),
  });
  if (isCancel(answer)) throw new UsageError("Nothing was changed.");
  return answer;
}
