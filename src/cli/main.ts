import { createRequire } from "node:module";
import { Command } from "commander";
import { addAdministration } from "./administration.js";
import { countBuffersWithHeap } from "./collector.js";
import {
  DEFAULT_PORT,
  editionOption,
  gather,
  notEmpty,
  orNone,
  parseBytes,
  parseCount,
  parseDuration,
  parseListen,
  parseMaxDelete,
  parseMilliseconds,
  parseRate,
  parseRewriteRate,
  parseScrub,
  portParser,
} from "./options.js";
import { rawArguments } from "./raw-arguments.js";
import { exitCode, printError } from "./report.js";
import { dieOf, handleSignals, Interrupted, isEnding } from "./signals.js";

/**
 * Runs the command line and ends the process with an exit code: 0 done, 1 failed, 2 wrong usage. A command that a signal ends
 * before it is done dies of that signal (128 plus its number, in a shell).
 */
export async function main(argv: string[]): Promise<void> {
  handleSignals();
  countBuffersWithHeap();
  // A reader that goes away (`| head`) ends us quietly, like any filter; a terminal that was closed has sent SIGHUP, too.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (!isEnding()) process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  process.stderr.on("error", () => {});
  try {
    await program().parseAsync(rawArguments(argv), { from: "user" });
    await leave(0);
  } catch (error) {
    printError(error);
    if (error instanceof Interrupted) dieOf(error.signal);
    else await leave(exitCode(error));
  }
}

/** Ends the process when what was printed has been taken; what still hangs on does not matter any more. */
async function leave(code: number): Promise<void> {
  process.exitCode = code;
  await new Promise<void>((flushed) => process.stdout.write("", () => flushed()));
  process.exit(code);
}

/** All commands, with their options. */
export function program(): Command {
  const { version } = createRequire(import.meta.url)("confundo/package.json") as { version: string };
  const root = new Command("confundo")
    .description("A reliable transport over UDP: folders kept mirrored, files sent, streams for Node programs.")
    .version(version)
    // `restore --version 3` is restore's own.
    .enablePositionalOptions()
    .exitOverride()
    .configureHelp({ subcommandTerm: (command) => `${command.name()} ${command.usage().replace("[options] ", "")}` })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "ERROR: ")) })
    .showHelpAfterError("(add --help for what can be said)");

  root
    .command("send")
    .description("send a file to a classic course server")
    .argument("<host>", "host name or address of the server", notEmpty("The host"))
    .argument("<port>", "its UDP port", portParser(1))
    .argument("<file>", "the file to send, or - for standard input", notEmpty("The file's name"))
    .addOption(editionOption())
    .option("--extended", "speak the extended edition with a peer that can, for speed")
    .option("--trace", "write the course's SEND / RECV / DROP lines to stdout")
    .action(async (host, port, file, options) => (await import("./send.js")).send(host, port, file, options));

  root
    .command("receive")
    .description("be a classic course server, which saves each connection to DIR/<id>.file")
    .argument("<port>", "the UDP port to listen on, 0 for any free one", portParser(0))
    .argument("<dir>", "the folder for the files; made if it is missing", notEmpty("The folder's name"))
    .addOption(editionOption())
    .option("--extended", "speak the extended edition with a peer that can, for speed")
    .option("--host <host>", "the address to listen on (default: all)", notEmpty("The address to listen on"))
    .option("--trace", "write the course's SEND / RECV / DROP lines to stdout")
    .action(async (port, dir, options) => (await import("./receive.js")).receive(port, dir, options));

  root
    .command("serve")
    .description("keep mirrors under DIR/NAME/")
    .argument("<dir>", "the folder that the mirrors are kept in; made if it is missing")
    // What else is there are addresses for --trust-proxy, which takes several.
    .allowExcessArguments()
    .option("--port <port>", "the UDP port to listen on, 0 for any free one", portParser(0), DEFAULT_PORT)
    .option("--host <host>", "the address to listen on", "127.0.0.1")
    .option("--database <url>", "a PostgreSQL database, postgres://…, instead of a file under DIR/.confundo")
    .option("--name <name>", "the folder that the first pairing address names")
    .option("--insecure", "no keys and no encryption: for tests, on this machine only")
    .option(
      "--keep <time>",
      "how long replaced and deleted files are kept, such as 30d, or how many versions (default: 30d)",
    )
    .option(
      "--thin <rules>",
      "how many of these are kept as they grow older, or off (default: 1min:1h,1h:1d,1d:1w, one a minute after an hour and so on)",
    )
    .option("--versions-size <size>", "how much all kept versions may take; the oldest go first", parseBytes)
    .option("--folder-versions-size <size>", "how much the kept versions of each folder may take", parseBytes)
    .option("--min-free <size>", "when less is free on the disk the oldest versions go (default: 256M)", parseBytes)
    .option("--quota <size>", "how much a folder may hold, such as 50G (default: what there is room for)", parseBytes)
    .option(
      "--storage-limit <size>",
      "how much a folder may take with its old versions and unfinished uploads (default: 3 times its quota)",
      parseBytes,
    )
    .option("--max-entries <count>", "how many files, links and directories a folder may hold", parseCount)
    .option(
      "--receive-budget <size>",
      "memory for what has arrived and was not read yet, of all connections (default: 256M)",
      parseBytes,
    )
    .option(
      "--http <host:port>",
      "where the dashboard and the REST interface are (default: 127.0.0.1:5080)",
      parseListen,
    )
    .option("--no-http", "neither dashboard nor REST interface")
    .option(
      "--http-cert <file>",
      "a certificate in PEM for HTTPS, with --http-key (default elsewhere than on this machine: its own)",
    )
    .option("--http-key <file>", "its private key in PEM")
    .option(
      "--trust-proxy <address>",
      "a proxy (address or network) whose X-Forwarded-For and Forwarded name the client; more may follow",
      gather,
    )
    .action(async (_dir, options, command) => (await import("./serve.js")).serve(command.args, options));

  root
    .command("mirror")
    .description("keep a folder mirrored to a server, and follow its changes")
    .argument("[folder]", "the folder to mirror; without one, those in confundo.json here")
    .argument("[address]", "confundo://HOST:PORT/NAME, the first time with #CODE")
    // What else is there are patterns for --ignore, which takes several.
    .allowExcessArguments()
    .option("--once", "end as soon as the destination equals the folder")
    .option("--json", "print one event a line as JSON")
    .option("--dry-run", "show what would be done, and do nothing")
    .option("--no-delete", "leave alone what is only at the destination")
    .option("--allow-mass-delete", "do not ask before most of the destination is deleted")
    .option(
      "--max-delete <limit>",
      "ask before more files are deleted than this, such as 50 or 20% (default: 100, or half of them if that is more)",
      parseMaxDelete,
    )
    .option("--delete-window <time>", "how long deletes count together, such as 1h (default: 10m)", parseDuration)
    .option("--replace", "take the mirror from the folder that it is of, whatever is deleted")
    .option("--checksum", "read all files here first, and compare them with the destination by hash")
    .option(
      "--verify",
      "the same, with the destination reading all of its content too; repair what is not as it should be",
    )
    .option(
      "--scrub <time>",
      "read each file here again within so long, in the background, such as 30d; 0: never (default: 30d)",
      parseScrub,
    )
    .option("--perms", "keep all permissions, not only whether a file is executable; owners are not kept")
    .option("--ignore <pattern>", "leave alone what matches, on both sides; more patterns may follow", gather)
    .option("--bandwidth <rate>", "send at most so many bytes a second, such as 500K or 5M", parseRate)
    .option(
      "--settle <time>",
      "send a file when it has rested for so long, such as 250ms or 2s (default: 10ms)",
      parseMilliseconds,
    )
    .option(
      "--settle-open <time>",
      "send a file that stays open for writing after so long, and every so often then; 0: at once (default: 5s)",
      parseMilliseconds,
    )
    .option(
      "--rewrite-rate <rate>",
      "rewrite a large file that keeps changing with so many bytes a second, averaged over a minute; 0: whenever it changes (default: 10 MB)",
      parseRewriteRate,
    )
    .option(
      "--timeout <time>",
      "give up after so long without a connection, such as 30s (default: 60s with --once and --dry-run, else never)",
      parseDuration,
    )
    .option("--gitignore", "heed .gitignore files too, beside .confundoignore")
    .option("--delete-ignored", "delete at the destination what is ignored")
    .option("--device-name <name>", "what the server calls this device, from now on (default: the host's name)")
    .option("--insecure", "no keys and no encryption, as the server: for tests, on this machine only")
    .action(async (_folder, _address, options, command) => (await import("./mirror.js")).mirror(command.args, options));

  root
    .command("log")
    .description("show what was replaced and deleted in a mirror, and is kept; beside the server")
    .argument("[name]", "the mirror; without one, all of them")
    .argument("[path]", "a file or folder in it")
    .option("--limit <count>", "at most so many versions, the newest", parseCount, 100)
    .option("--json", "print one version a line as JSON")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, path, options) => (await import("./versions.js")).log(name, path, options));

  root
    .command("restore")
    .description(
      "bring back what was in a mirror with permissions and times (owners are not kept), which is on hold from then on; beside the server",
    )
    .argument("<name>", "the mirror")
    .argument("[path]", "a file or folder in it; . or nothing for all of it, with --at")
    .option("--at <time>", "as it was then: 2h (ago), 3d, 10:00, 2026-11-25, '2026-11-25 10:00'")
    .option("--version <number>", "the version of a file, as `confundo log` numbers them", parseCount)
    .option("--to <folder>", "restore into this folder, where nothing is replaced, and leave the mirror alone")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, path, options) => (await import("./versions.js")).restore(name, path, options));

  root
    .command("quota")
    .description("show what a mirror may take, or set limits of its own; beside the server")
    .argument("[name]", "the mirror; without one, all of them")
    .option("--quota <size>", "how much it may hold, such as 50G; none: what `serve` says", orNone(parseBytes))
    .option("--storage-limit <size>", "how much with its old versions and unfinished uploads", orNone(parseBytes))
    .option("--max-entries <count>", "how many files, links and directories", orNone(parseCount))
    .option("--json", "print one mirror a line as JSON")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, options) => (await import("./quota.js")).quota(name, options));

  root
    .command("resume")
    .description("let clients change a mirror again that was restored; beside the server")
    .argument("<name>", "the mirror")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, options) => (await import("./versions.js")).resume(name, options));

  root
    .command("approve")
    .description("let the client of a mirror carry out the deletes that it holds back; beside the server")
    .argument("<name>", "the mirror")
    .option("--id <id>", "only those that were shown under this id")
    .option("--keep", "keep the files, and go on holding the deletes back")
    .option("--json", "print what is held back as JSON, and approve it only with --id")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, options) => (await import("./approve.js")).approve(name, options));

  root
    .command("reindex")
    .description("read all files and make the database equal to them; beside the server")
    .argument("[name]", "the mirror; without one, all of them")
    .option("--dir <dir>", "the folder that is served")
    .action(async (name, options) => (await import("./versions.js")).reindex(name, options));

  root
    .command("doctor")
    .description("look for what could keep a folder from being mirrored")
    .argument("<folder>", "the folder to look at")
    .argument("[address]", "confundo://HOST:PORT/NAME: also see whether the server answers")
    .action(async (folder, address) => (await import("./doctor.js")).doctor(folder, address));

  root
    .command("explain")
    .description("say whether a path is mirrored, and which ignore rule decides")
    .argument("<folder>", "the folder that is mirrored")
    .argument("<path>", "a path in it; a slash at the end means a folder")
    .option("--ignore <pattern>", "a pattern that the mirror is given; may be repeated", gather)
    .option("--gitignore", "heed .gitignore files too, beside .confundoignore")
    .action(async (folder, path, options) => (await import("./explain.js")).explain(folder, path, options));

  addAdministration(root);
  return root;
}
