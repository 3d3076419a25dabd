/** `confundo invite`, `devices` and `revoke`. */
import { type Device, formatAddress, mirrorNameProblem } from "../server/index.js";
import { type HomeOption, withHome } from "./home.js";
import { shownPath, UsageError } from "./report.js";
import { printTable, shownTime } from "./table.js";

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
      for (const { device, folders } of rows) process.stdout.write(`${JSON.stringify({ ...device, folders })}\n`);
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
    const { id, name } = await auth.revoke(LOCAL, device);
    process.stdout.write(`revoked ${shownPath(name)} (${id})\n`);
  });
}
