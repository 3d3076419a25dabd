import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect } from "vitest";
import { type Rig, random, test, until } from "../support/program.js";

// Many programs at once, on machines that do other things, too.
const FIU_SIZES = [0, 1, 411, 412, 413, 4120, 49_999, 50_001, 130_000];
const OTHER_EDITIONS = ["ucla-2017", "ucla-2019", "uno-2020", "fiu-2019", "fiu-2020", "fiu-2021"];
const SILENT = { stdout: "", stderr: "" };
const LOG_LINE =
  /^((SEND|RECV) \d+ \d+ \d+ \d+ \d+( ACK)?( SYN)?( FIN)?( DUP)?|DROP \d+ \d+ \d+( ACK)?( SYN)?( FIN)?)$/;

// A pseudo-terminal comes from Python's standard library, where there is one.
const hasPty = spawnSync("python3", ["-c", "import pty"]).status === 0;
const hasIpv6 = Object.values(os.networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);

function file(rig: Rig, content: string | Uint8Array, name = "sent"): string {
  const name_ = path.join(rig.folder(), name);
  fs.writeFileSync(name_, content);
  return name_;
}

/** A hand-made packet. */
function packet(seq: number, ack: number, id: number, flags: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(seq, 0);
  header.writeUInt32BE(ack, 4);
  header.writeUInt16BE(id, 8);
  header.writeUInt16BE(flags, 10);
  return Buffer.concat([header, data]);
}

const SYN = 2;
const ACK = 4;

// What takes 10 s by protocol comes first, so that the others run beside it.
describe.concurrent("silence", () => {
  test("a server that does not answer is given up after 10 s", async ({ rig }) => {
    const silent = createSocket("udp4");
    silent.bind(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address();
    const began = performance.now();
    const exit = await rig.run(["send", "127.0.0.1", `${port}`, file(rig, "x")]);
    silent.close();
    expect(exit).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(
      new RegExp(`^ERROR: 127\\.0\\.0\\.1:${port}: no answer within 10 s\\. .+ \\(ETIMEDOUT\\)\\n$`),
    );
    expect(performance.now() - began).toBeGreaterThan(9900);
  });

  test("a port where nothing listens is named as such", async ({ rig }) => {
    const other = createSocket("udp4");
    other.bind(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address();
    await new Promise<void>((closed) => other.close(() => closed()));
    const exit = await rig.run(["send", "127.0.0.1", `${port}`, file(rig, "x")]);
    expect(exit).toMatchObject({ code: 1, stdout: "" });
    expect(exit.stderr).toMatch(/^ERROR: 127\.0\.0\.1:.+ECONNREFUSED.+Start the server.+ \(ETIMEDOUT\)\n$/);
  });

  test("clients that vanish leave ERROR, also after a lone SYN, and others are served meanwhile", async ({ rig }) => {
    const dir = rig.folder();
    const { server, port } = await rig.receive(dir);
    const raw = createSocket("udp4");
    raw.connect(Number(port), "127.0.0.1");
    await once(raw, "connect");
    const answers: Buffer[] = [];
    raw.on("message", (answer) => answers.push(answer));
    raw.send(packet(50_000, 0, 0, SYN));
    await until(() => fs.existsSync(path.join(dir, "1.file")));
    const slow = rig.start(["send", "127.0.0.1", port, "-"], { stdin: "open" });
    slow.child.stdin?.write(random(2000));
    await until(() => fs.statSync(path.join(dir, "2.file")).size >= 1648);
    await slow.kill("SIGKILL");
    expect(await rig.run(["send", "127.0.0.1", port, file(rig, "third")])).toMatchObject({ code: 0 });
    expect(fs.readFileSync(path.join(dir, "3.file"), "utf8")).toBe("third");
    await until(() => ["1.file", "2.file"].every((name) => fs.readFileSync(path.join(dir, name), "utf8") === "ERROR"));
    expect(fs.readFileSync(path.join(dir, "3.file"), "utf8")).toBe("third");
    expect(answers[0]?.readUInt32BE(4)).toBe(0);
    raw.close();
    expect(await server.kill("SIGTERM")).toMatchObject({ code: 0 });
  });

  test("whoever types into send may pause for longer than 10 s", async ({ rig }) => {
    const dir = rig.folder();
    const { port } = await rig.receive(dir);
    const client = rig.start(["send", "127.0.0.1", port, "-"], { stdin: "open" });
    client.child.stdin?.write("before, ");
    await new Promise((resolve) => setTimeout(resolve, 11_000));
    client.child.stdin?.end("after");
    expect(await client.exited).toMatchObject({ code: 0, ...SILENT });
    expect(fs.readFileSync(path.join(dir, "1.file"), "utf8")).toBe("before, after");
  });
});

describe.concurrent("send and receive", () => {
  test("files of many sizes, one client after the other, are numbered and equal", async ({ rig }) => {
    const dir = path.join(rig.folder(), "made", "when missing");
    const { server, port } = await rig.receive(dir);
    const contents = FIU_SIZES.map((size) => random(size));
    for (const [i, content] of contents.entries()) {
      const client = rig.start(["send", "127.0.0.1", port, file(rig, content)]);
      // The next one starts while this one waits for late FINs.
      await until(() => fs.readFileSync(path.join(dir, `${i + 1}.file`)).equals(content));
      void client;
    }
    expect(fs.readdirSync(dir).sort()).toEqual(contents.map((_, i) => `${i + 1}.file`).sort());
    const { stderr, ...exit } = await server.kill("SIGTERM");
    expect(exit).toEqual({ code: 0, signal: null, stdout: "" });
    const [listening, ...saved] = stderr.trimEnd().split("\n");
    expect(listening).toBe(`listening on 127.0.0.1:${port}`);
    expect(saved.map((line) => line.replace(/127\.0\.0\.1:\d+$/, "HOST:PORT"))).toEqual(
      contents.map(({ length }, i) => `saved ${i + 1}.file, ${length.toLocaleString("en")} bytes from HOST:PORT`),
    );
  });

  test("without a terminal a transfer prints nothing and takes the 2 s of late FINs", async ({ rig }) => {
    const dir = rig.folder();
    const { port } = await rig.receive(dir);
    const began = performance.now();
    expect(await rig.run(["send", "127.0.0.1", port, file(rig, random(9000))])).toEqual({
      code: 0,
      signal: null,
      ...SILENT,
    });
    expect(performance.now() - began).toBeGreaterThan(1950);
  });

  test("many clients at once", async ({ rig }) => {
    const dir = rig.folder();
    const { port } = await rig.receive(dir);
    const contents = Array.from({ length: 12 }, () => random(60_000));
    const exits = contents.map((content) => rig.run(["send", "127.0.0.1", port, file(rig, content)]));
    expect((await Promise.all(exits)).map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      contents.map(() => ({ code: 0, stderr: "" })),
    );
    const arrived = contents.map((_, i) => fs.readFileSync(path.join(dir, `${i + 1}.file`)).toString("hex"));
    expect(arrived.sort()).toEqual(contents.map((content) => content.toString("hex")).sort());
  });

  test.for(OTHER_EDITIONS)("%s on both sides", async (edition, { rig }) => {
    const dir = rig.folder();
    const content = random(230_000);
    const { port } = await rig.receive(dir, "--edition", edition);
    const sent = await rig.run(["send", "127.0.0.1", port, file(rig, content), "--edition", edition]);
    expect(sent).toMatchObject({ code: 0, ...SILENT });
    expect(fs.readFileSync(path.join(dir, "1.file")).equals(content)).toBe(true);
  });

  test("standard input: text, nothing, and a megabyte", async ({ rig }) => {
    const dir = rig.folder();
    const { port } = await rig.receive(dir, "--edition", "ucla-2017");
    const contents = [Buffer.from("häl\0lo\n"), Buffer.alloc(0), random(1 << 20)];
    for (const [i, stdin] of contents.entries()) {
      const exit = await rig.run(["send", "127.0.0.1", port, "-", "--edition", "ucla-2017"], { stdin });
      expect(exit).toMatchObject({ code: 0, ...SILENT });
      expect(fs.readFileSync(path.join(dir, `${i + 1}.file`)).equals(stdin)).toBe(true);
    }
  });

  test("--trace writes the course's lines to stdout, exactly, and nothing else", async ({ rig }) => {
    const dir = rig.folder();
    const { server, port } = await rig.receive(dir, "--trace");
    const sent = await rig.run(["send", "--trace", "127.0.0.1", port, file(rig, random(300))]);
    expect(sent).toEqual({
      code: 0,
      signal: null,
      stderr: "",
      stdout: [
        "SEND 50000 0 0 412 12000 SYN",
        "RECV 4321 0 1 412 12000 ACK SYN",
        "SEND 0 4322 1 412 12000 ACK",
        "RECV 4322 300 1 412 12000 ACK",
        "SEND 300 0 1 824 12000 FIN",
        "RECV 4322 301 1 824 12000 ACK FIN",
        "SEND 301 4323 1 1236 12000 ACK",
        "",
      ].join("\n"),
    });
    const received = await server.kill("SIGTERM");
    expect(received.stderr).toBe(`listening on 127.0.0.1:${port}\n`);
    expect(received.stdout).toBe(
      [
        "RECV 50000 0 0 412 12000 SYN",
        "SEND 4321 0 1 412 12000 ACK SYN",
        "RECV 0 4322 1 412 12000 ACK",
        "SEND 4322 300 1 412 12000 ACK",
        "RECV 300 0 1 412 12000 FIN",
        "SEND 4322 301 1 412 12000 ACK FIN",
        "RECV 301 4323 1 412 12000 ACK",
        "",
      ].join("\n"),
    );
  });

  test("a long trace is complete and well-formed to its last line, on both sides", async ({ rig }) => {
    const dir = rig.folder();
    const { server, port } = await rig.receive(dir, "--trace");
    const sent = await rig.run(["send", "127.0.0.1", port, file(rig, random(300_000)), "--trace"]);
    const received = await server.kill("SIGINT");
    for (const { code, stdout } of [sent, received]) {
      expect(code).toBe(0);
      const lines = stdout.trimEnd().split("\n");
      expect(lines.filter((line) => !LOG_LINE.test(line))).toEqual([]);
      expect(lines.length).toBeGreaterThan((2 * 300_000) / 412);
    }
    expect(sent.stdout).toMatch(/ ACK FIN\nSEND .* ACK\n$/);
    expect(received.stdout).toMatch(/ ACK FIN\nRECV .* ACK\n$/);
  });

  test("a reader of the trace that goes away ends the program quietly", async ({ rig }) => {
    const dir = rig.folder();
    const { port } = await rig.receive(dir);
    const client = rig.start(["send", "127.0.0.1", port, file(rig, random(2_000_000)), "--trace"]);
    await client.printed(/SYN/);
    client.child.stdout?.destroy();
    const { stderr, signal } = await client.exited;
    expect({ stderr, signal }).toEqual({ stderr: "", signal: null });
  });

  test("hostile datagrams are dropped, logged, and stop nobody", async ({ rig }) => {
    const dir = rig.folder();
    const { server, port } = await rig.receive(dir, "--trace");
    const content = random(100_000);
    const client = rig.run(["send", "127.0.0.1", port, file(rig, content)]);
    const raw = createSocket("udp4");
    raw.connect(Number(port), "127.0.0.1");
    await once(raw, "connect");
    let answers = 0;
    raw.on("message", () => answers++);
    raw.send(packet(7, 8, 999, ACK, random(10)));
    raw.send(packet(7, 0, 1, 0, random(412)));
    for (let size = 0; size < 1400; size += 7) {
      // Whatever is in them, their connection does not exist.
      raw.send(Buffer.concat([random(8), Buffer.from([0xff, 0xff]), random(1400)]).subarray(0, size));
    }
    expect(await client).toMatchObject({ code: 0 });
    expect(fs.readFileSync(path.join(dir, "1.file")).equals(content)).toBe(true);
    raw.close();
    const { stdout, code } = await server.kill("SIGTERM");
    expect(code).toBe(0);
    expect(answers).toBe(0);
    expect(stdout).toContain("DROP 7 8 999 ACK\n");
    expect(stdout.split("\n").filter((line) => line !== "" && !LOG_LINE.test(line))).toEqual([]);
  });

  test.for(["SIGTERM", "SIGQUIT", "SIGINT", "SIGHUP"] as const)(
    "receive ends with 0 at %s",
    async (signal, { rig }) => {
      const dir = rig.folder();
      const { server, port } = await rig.receive(dir);
      const client = rig.start(["send", "127.0.0.1", port, "-"], { stdin: "open" });
      client.child.stdin?.write(random(1000));
      await until(() => fs.statSync(path.join(dir, "1.file")).size > 0);
      const exit = await server.kill(signal);
      expect(exit).toMatchObject({ code: 0, signal: null, stdout: "" });
      expect(exit.stderr).toMatch(/\ngave up 1\.file from 127\.0\.0\.1:\d+: a signal ended the server\n$/);
      expect(fs.readFileSync(path.join(dir, "1.file"), "utf8")).toBe("ERROR");
    },
  );

  test("listens on all interfaces by default; localhost and addresses reach it", async ({ rig }) => {
    const dir = rig.folder();
    const server = rig.start(["receive", "0", dir]);
    const [, host, port = ""] = await server.printed(/^listening on (.*):(\d+)\n/m);
    expect(host).toBe(hasIpv6 ? "[::]" : "0.0.0.0");
    const hosts = ["localhost", "127.0.0.1", ...(hasIpv6 ? ["::1"] : [])];
    const exits = hosts.map((name) => rig.run(["send", name, port, file(rig, "same")]));
    for (const exit of await Promise.all(exits)) expect(exit).toMatchObject({ code: 0, ...SILENT });
    await server.printed(/^saved \d\.file, 4 bytes from 127\.0\.0\.1:\d+\n/m);
    for (const i of hosts.keys()) expect(fs.readFileSync(path.join(dir, `${i + 1}.file`), "utf8")).toBe("same");
  });

  if (hasIpv6) {
    test("--host with an IPv6 address, shown in brackets", async ({ rig }) => {
      const dir = rig.folder();
      const { server, port } = await rig.receive(dir, "--host", "::1");
      expect(server.stderr).toBe(`listening on [::1]:${port}\n`);
      expect(await rig.run(["send", "::1", port, file(rig, "six")])).toMatchObject({ code: 0 });
      expect(fs.readFileSync(path.join(dir, "1.file"), "utf8")).toBe("six");
    });
  }
});

describe.concurrent("what goes wrong", () => {
  test.for<[string, string[], RegExp]>([
    ["no command", [], /^Usage: confundo /],
    ["an unknown command", ["fly"], /^ERROR: unknown command 'fly'\n/],
    ["an unknown option", ["send", "--fast", "a", "1", "b"], /^ERROR: unknown option '--fast'\n/],
    ["a missing argument", ["send", "localhost", "5000"], /^ERROR: missing required argument 'file'\n/],
    ["no host but an empty one", ["send", "", "5000", "f"], /^ERROR: The host is empty\. Give one; /],
    ["a file without a name", ["send", "localhost", "5000", ""], /^ERROR: The file's name is empty\. /],
    ["an empty string alone", ["send", ""], /^ERROR: missing required argument 'port'\n/],
    ["a folder without a name", ["receive", "0", ""], /^ERROR: The folder's name is empty\. /],
    ["an empty address", ["receive", "0", "d", "--host", ""], /^ERROR: The address to listen on is empty\. /],
    ["an argument too many", ["receive", "0", "d", "e"], /^ERROR: too many arguments/],
    ["port 0 to send to", ["send", "localhost", "0", "f"], /^ERROR: 0 is not a port here: .* 1 to 65535\.\n$/],
    ["a port too large", ["send", "localhost", "65536", "f"], /^ERROR: 65536 is not a port here/],
    ["a port that is no number", ["send", "localhost", "5x", "f"], /^ERROR: 5x is not a port here/],
    ["a negative port", ["receive", "--", "-1", "d"], /^ERROR: -1 is not a port here: .* 0 to 65535\.\n$/],
    [
      "an edition to send",
      ["send", "h", "1", "f", "--edition", "x"],
      /^ERROR: There is no edition x\. .*ucla-2017.*, fiu-2023\.\n$/,
    ],
    ["an edition to receive", ["receive", "1", "d", "--edition", ""], /^ERROR: There is no edition .*, fiu-2023\.\n$/],
  ])("%s is a mistake of usage", async ([, args, message], { rig }) => {
    const { code, stdout, stderr } = await rig.run(args, { cwd: rig.folder() });
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  test.for<[string, string[], RegExp]>([
    [
      "an unknown host",
      ["send", "no-such-host.invalid", "5000", "file"],
      /^ERROR: no-such-host\.invalid: the host name could not be resolved \(E\w+\)\. .+\n$/,
    ],
    ["a missing file", ["send", "127.0.0.1", "5000", "missing"], /^ERROR: missing does not exist\. \(ENOENT\)\n$/],
    ["a folder instead of a file", ["send", "127.0.0.1", "5000", "."], /^ERROR: \. is a folder, .*\(EISDIR\)\n$/],
    ["DIR that is a file", ["receive", "0", "file"], /^ERROR: file is not a folder, .*\n$/],
    ["DIR below a file", ["receive", "0", "file/dir"], /^ERROR: .*file.* is not a folder, .*\n$/],
    [
      "an address of nobody",
      ["receive", "0", "d", "--host", "203.0.113.7"],
      /^ERROR: 203\.0\.113\.7:0: cannot listen on that address \(EADDRNOTAVAIL\)\. .+\n$/,
    ],
    [
      "a host to listen on that is unknown",
      ["receive", "0", "d", "--host", "no.invalid"],
      /^ERROR: no\.invalid: the host name /,
    ],
  ])("%s fails", async ([, args, message], { rig }) => {
    const cwd = rig.folder();
    fs.writeFileSync(path.join(cwd, "file"), "x");
    const { code, stdout, stderr } = await rig.run(args, { cwd });
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  test("a port in use", async ({ rig }) => {
    const { port } = await rig.receive(rig.folder());
    const second = await rig.run(["receive", port, rig.folder(), "--host", "127.0.0.1"]);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toMatch(
      new RegExp(`^ERROR: 127\\.0\\.0\\.1:${port}: the UDP address is already in use\\. .+ \\(EADDRINUSE\\)\\n$`),
    );
  });

  test("a file that cannot be written is said, ends nothing, and the next client is served", async ({ rig }) => {
    const dir = rig.folder();
    fs.mkdirSync(path.join(dir, "1.file"));
    const { server, port } = await rig.receive(dir);
    const refused = rig.start(["send", "127.0.0.1", port, file(rig, "first")]);
    await server.printed(/ERROR: .*1\.file is a folder, and a file was expected\. \(EISDIR\)\n/);
    expect(await rig.run(["send", "127.0.0.1", port, file(rig, "second")])).toMatchObject({ code: 0 });
    expect(fs.readFileSync(path.join(dir, "2.file"), "utf8")).toBe("second");
    expect(server.ended).toBe(false);
    await refused.kill("SIGKILL");
  });

  test.for(["--version", "--help", "help send", "receive --help"])(
    "%s says so and ends with 0",
    async (args, { rig }) => {
      const { code, stdout, stderr } = await rig.run(args.split(" "));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/^(\d+\.\d+\.\d+|Usage: confundo )/);
      // What would be wrapped by a terminal of the usual width is wrapped by us.
      expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    },
  );
});

if (hasPty) {
  /** Runs a program on a pseudo-terminal of 60 columns, and passes on what it shows and how it ends. */
  const PTY = [
    "import fcntl, os, pty, struct, sys, termios",
    "pid, fd = pty.fork()",
    "if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])",
    "fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 60, 0, 0))",
    "while True:",
    "  try: data = os.read(fd, 4096)",
    "  except OSError: break",
    "  if not data: break",
    "  sys.stdout.buffer.write(data); sys.stdout.buffer.flush()",
    "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
  ].join("\n");

  describe.concurrent("on a terminal", () => {
    test("send shows a bar that fits, and what was sent; with --trace there is none", async ({ rig }) => {
      const { port } = await rig.receive(rig.folder());
      const args = ["send", "127.0.0.1", port, file(rig, random(6_000_000))];
      const confundo = [process.execPath, path.join(import.meta.dirname, "../../bin/confundo.js")];
      const [shown, traced] = await Promise.all([
        rig.spawn("python3", ["-c", PTY, ...confundo, ...args]).exited,
        rig.spawn("python3", ["-c", PTY, ...confundo, ...args.with(3, file(rig, "short")), "--trace"]).exited,
      ]);
      expect(shown).toMatchObject({ code: 0, stderr: "" });
      expect(shown.stdout).toMatch(/\[#*\.*\] +\d+ %/);
      expect(shown.stdout).toMatch(/\rsent 5\.7 MiB to 127\.0\.0\.1:\d+ in \d+\.\d s\r\n$|sent 5\.7 MiB to .* s\r\n$/);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's own sequences are taken out
      const lines = shown.stdout.split(/\r\n|\u001b\[1G/).map((line) => line.replace(/\u001b\[[0-9;]*[A-Za-z]/g, ""));
      expect(lines.filter((line) => line.length > 60)).toEqual([]);
      expect(traced).toMatchObject({ code: 0, stderr: "" });
      expect(traced.stdout.split("\r\n").filter((line) => line !== "" && !LOG_LINE.test(line))).toEqual([]);
    });
  });
}
