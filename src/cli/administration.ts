import type { Command } from "commander";
import { gather, parseDuration, withDefault } from "./options.js";

const DIR = ["--dir <dir>", "the server's folder, as in `confundo serve DIR`"] as const;

/** The commands that are run beside the data, on the server's machine. */
export function addAdministration(root: Command): void {
  const admin = () => import("./admin.js");

  root
    .command("invite")
    .description("print a pairing address: with it, one device may mirror to NAME")
    .argument("<name>", "the folder that the device gets")
    .option("--read-only", "the device may look and change nothing")
    .option("--admin", "the device gets every folder, and NAME is only what the address says")
    .addOption(
      withDefault(
        "--expires <time>",
        "how long the address is good for, such as 15m or 7d",
        parseDuration,
        3_600_000,
        "1h",
      ),
    )
    .option(...DIR)
    .action(async (name, options) => (await admin()).invite(name, options));

  root
    .command("invitations")
    .description("list the invitations: open, used, withdrawn and expired")
    .option("--json", "print one invitation a line as JSON")
    .option(...DIR)
    .action(async (options) => (await admin()).invitations(options));

  root
    .command("withdraw")
    .description("take an invitation back: its address is of no use any more")
    .argument("<invitation>", "its id as `confundo invitations` lists it")
    .option(...DIR)
    .action(async (invitation, options) => (await admin()).withdraw(invitation, options));

  root
    .command("devices")
    .description("list the devices that the server knows")
    .option("--json", "print one device a line as JSON")
    .option(...DIR)
    .action(async (options) => (await admin()).devices(options));

  root
    .command("revoke")
    .description("shut a device out, at once and for good; asks which where several have the name")
    .argument("<device>", "its name, or its id as `confundo devices` lists it")
    .option(...DIR)
    .action(async (device, options) => (await admin()).revoke(device, options));

  root
    .command("device")
    .description("look after the devices that the server knows")
    .command("rename")
    .description("give a device another name")
    .argument("<device>", "its name, or its id as `confundo devices` lists it")
    .argument("<name>", "its new name")
    .option(...DIR)
    .action(async (device, name, options) => (await admin()).renameDevice(device, name, options));

  addFolders(root);
  addUsers(root);
  addTokens(root);
}

function addFolders(root: Command): void {
  const folders = () => import("./folders.js");
  const folder = root.command("folder").description("look after the mirrors that the server keeps");
  folder
    .command("list")
    .description("list the mirrors")
    .option("--deleted", "those that are deleted and can be restored")
    .option("--json", "print one mirror a line as JSON")
    .option(...DIR)
    .action(async (options) => (await folders()).listFolders(options));
  folder
    .command("delete")
    .description("delete a mirror: it can be restored for a while, then its files and versions are removed")
    .argument("<name>", "the mirror")
    .option("--grace <time>", "how long it can be restored, such as 12h or 7d; 0 removes it at once (default: 30d)")
    .option(...DIR)
    .action(async (name, options) => (await folders()).deleteFolder(name, options));
  folder
    .command("undelete")
    .description("restore a deleted mirror as it was")
    .argument("<name>", "the mirror")
    .option(...DIR)
    .action(async (name, options) => (await folders()).undeleteFolder(name, options));
}

function addUsers(root: Command): void {
  const users = () => import("./users.js");
  const user = root.command("user").description("look after the people who may log in");
  user
    .command("add")
    .description("add a user; the password is asked for, or read from standard input")
    .argument("<name>", "the user's name")
    .option("--admin", "the user may do everything")
    .option("--folder <folder>", "a folder that the user gets; may be repeated", gather)
    .option("--read-only", "the user may look at these folders and change nothing")
    .option(...DIR)
    .action(async (name, options) => (await users()).addUser(name, options));
  user
    .command("passwd")
    .description("set another password, and end the user's sessions")
    .argument("<name>", "the user's name")
    .option("--end-tokens", "end the user's API tokens, too")
    .option(...DIR)
    .action(async (name, options) => (await users()).setPassword(name, options));
  user
    .command("remove")
    .description("remove a user, with the user's tokens")
    .argument("<name>", "the user's name")
    .option(...DIR)
    .action(async (name, options) => (await users()).removeUser(name, options));
  user
    .command("list")
    .description("list the users")
    .option("--json", "print one user a line as JSON")
    .option(...DIR)
    .action(async (options) => (await users()).listUsers(options));
}

function addTokens(root: Command): void {
  const users = () => import("./users.js");
  const token = root.command("token").description("look after the tokens that programs use over HTTP");
  token
    .command("create")
    .description("make a token and print it, this once")
    .argument("[name]", "what it is for", "token")
    .option("--user <name>", "whose token it is", "admin")
    .option("--folder <folder>", "a folder that it is good for (default: all); may be repeated", gather)
    .option("--write", "it may change things, too")
    .option("--metrics", "it may read /metrics, and do nothing else")
    .option("--expires <time>", "how long it is good for, such as 1h, 30d, or never (default: 90d)")
    .option(...DIR)
    .action(async (name, options) => (await users()).createToken(name, options));
  token
    .command("revoke")
    .description("make a token useless, at once")
    .argument("<token>", "its name, or its id as `confundo token list` lists it")
    .option(...DIR)
    .action(async (name, options) => (await users()).revokeToken(name, options));
  token
    .command("list")
    .description("list the tokens")
    .option("--json", "print one token a line as JSON")
    .option(...DIR)
    .action(async (options) => (await users()).listTokens(options));
}
