import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { describe, expect, test } from "vitest";
import {
  answerPairing,
  askToPair,
  createCode,
  createIdentity,
  type HandshakeOptions,
  MIRROR_PROTOCOL,
  PAIR_PROTOCOL,
  pairRequest,
  type Secured,
  SecureError,
  secureClient,
  secureServer,
} from "../../../src/secure/index.js";
import { linkedPair } from "../../support/duplex-pair.js";
import { connectedPair } from "../../support/sockets.js";

const server = createIdentity({ commonName: "server" });
const device = createIdentity({ commonName: "device" });
const trusting = { identity: device, protocol: MIRROR_PROTOCOL, check: () => {} } as const;

async function shaken(
  duplexes: { client: Duplex; server: Duplex } = linkedPair(),
  protocol: typeof MIRROR_PROTOCOL | typeof PAIR_PROTOCOL = MIRROR_PROTOCOL,
): Promise<{ client: Secured; server: Secured }> {
  const [theirs, ours] = await Promise.all([
    secureServer(duplexes.server, { identity: server }),
    secureClient(duplexes.client, { ...trusting, protocol }),
  ]);
  return { client: ours, server: theirs };
}

/** The code that a promise rejects with. */
async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: SecureError) => error.code,
  );
}

function serverOf(duplex: Duplex, options: Partial<HandshakeOptions> = {}): Promise<Secured> {
  return secureServer(duplex, { identity: server, ...options });
}

describe("the handshake", () => {
  test("shows each side the other's pin, and what is spoken inside; then bytes pass both ways", async () => {
    const ends = await shaken(linkedPair(), PAIR_PROTOCOL);
    expect(ends.client).toMatchObject({ pin: server.pin, protocol: PAIR_PROTOCOL });
    expect(ends.server).toMatchObject({ pin: device.pin, protocol: PAIR_PROTOCOL });
    expect(ends.client.stream.getProtocol()).toBe("TLSv1.3");
    const sent = randomBytes(3_000_000);
    ends.client.stream.end(sent);
    expect((await untilEnd(ends.server.stream)).equals(sent)).toBe(true);
    ends.server.stream.end("and back");
    expect(String(await once(ends.client.stream, "data"))).toBe("and back");
  });

  test("what has arrived before the server begins counts once", async () => {
    const pair = linkedPair();
    const connecting = secureClient(pair.client, trusting);
    await expect.poll(() => pair.server.readableLength).toBeGreaterThan(0);
    expect((await serverOf(pair.server)).pin).toBe(device.pin);
    expect((await connecting).pin).toBe(server.pin);
  });

  test("over Confundo: half a connection ended leaves the other half open", async () => {
    await using pair = await connectedPair({ both: { noDelay: true }, server: { allowHalfOpen: true } });
    const ends = await shaken({ client: pair.client, server: pair.accepted });
    ends.client.stream.end("question");
    expect(String(await untilEnd(ends.server.stream))).toBe("question");
    ends.server.stream.end("answer");
    expect(String(await once(ends.client.stream, "data"))).toBe("answer");
  });

  test("a wrong pin: nothing is sent but the handshake, and both ends are gone", async () => {
    const pair = linkedPair();
    const heard = serverOf(pair.server);
    const refusal = new SecureError("ERR_SERVER_KEY", "another key");
    const check = (): never => {
      throw refusal;
    };
    await expect(secureClient(pair.client, { ...trusting, check })).rejects.toBe(refusal);
    expect(pair.client.destroyed).toBe(true);
    // Whether the server has the client's last handshake message by then or not: data it never has.
    const bytes = heard.then(({ stream }) => untilEnd(stream)).catch(() => Buffer.alloc(0));
    pair.cut();
    expect((await bytes).length).toBe(0);
  });

  test("a client without a key is refused", async () => {
    const pair = linkedPair();
    connectTls({ socket: pair.client, rejectUnauthorized: false, ALPNProtocols: [MIRROR_PROTOCOL] }).on(
      "error",
      () => {},
    );
    expect(await codeOf(serverOf(pair.server))).toBe("ERR_UNAUTHENTICATED");
    expect(pair.server.destroyed).toBe(true);
  });

  test.each([
    ["TLS 1.2", { maxVersion: "TLSv1.2" as const, ALPNProtocols: [MIRROR_PROTOCOL] }],
    ["another protocol inside", { ALPNProtocols: ["h2"] }],
    ["no protocol inside", {}],
  ])("%s is refused", async (_, options) => {
    const pair = linkedPair();
    const { key, cert } = device;
    connectTls({ socket: pair.client, key, cert, rejectUnauthorized: false, ...options }).on("error", () => {});
    expect(await codeOf(serverOf(pair.server))).toBe("ERR_TLS");
    expect(pair.server.destroyed).toBe(true);
  });

  test.each([
    ["random bytes", (client: Duplex) => client.write(randomBytes(2000))],
    ["a mirror protocol in the clear", (client: Duplex) => client.write("\u0001\0\0\0\u0010CNFS")],
    ["records without an end", endless],
    ["an end at once", (client: Duplex) => client.end()],
    ["a cut", (client: Duplex) => client.destroy()],
  ])("%s from a client: ERR_TLS, soon, and the connection is closed", async (_, act) => {
    const pair = linkedPair();
    pair.client.on("error", () => {}).resume();
    const failing = codeOf(serverOf(pair.server));
    act(pair.client);
    expect(await failing).toBe("ERR_TLS");
    expect(pair.server.destroyed).toBe(true);
  });

  test("a slow peer is given up", async () => {
    const pair = linkedPair();
    await expect(serverOf(pair.server, { timeoutMs: 20 })).rejects.toMatchObject({
      code: "ERR_TLS",
      message: expect.stringContaining("longer than 0.02 s"),
    });
    const other = linkedPair();
    expect(await codeOf(secureClient(other.client, { ...trusting, timeoutMs: 20 }))).toBe("ERR_TLS");
  });

  test("a server that speaks no TLS is told as such", async () => {
    const pair = linkedPair();
    pair.server.write("\u0002\0\0\0\u0010this is the mirror protocol in the clear");
    await expect(secureClient(pair.client, trusting)).rejects.toThrow(/does not speak TLS/);
  });

  test("what comes after the handshake and is no TLS ends the connection with an error", async () => {
    const pair = linkedPair();
    const ends = await shaken(pair);
    const failed = once(ends.server.stream, "error");
    ends.client.stream.on("error", () => {});
    pair.client.write(randomBytes(100));
    await failed;
    expect(ends.server.stream.destroyed).toBe(true);
  });

  test("an error of the connection below becomes the stream's", async () => {
    const pair = linkedPair();
    const ends = await shaken(pair);
    const failed = once(ends.client.stream, "error");
    pair.client.destroy(new Error("cable pulled"));
    expect((await failed)[0]).toMatchObject({ message: "cable pulled" });
  });
});

/** Reads without ending the other half, as a `for await` would. */
async function untilEnd(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  await once(stream, "end");
  return Buffer.concat(chunks);
}

/** Handshake records that announce a message of 16 MiB and go on for ever. */
function endless(client: Duplex): void {
  const record = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(0x4000)]);
  record.set([1, 0xff, 0xff, 0xff], 5);
  const more = (): void => {
    while (!client.destroyed && client.write(record));
  };
  client.on("drain", more);
  more();
}

describe("the pairing exchange", () => {
  const request = { code: createCode(), name: "laptop" };

  test("one request, one answer, and then whatever follows", async () => {
    const { client, server } = linkedPair();
    const asking = askToPair(client, request).then(() => client.write("HELLO"));
    expect(await pairRequest(server)).toEqual({ ...request, rename: false });
    answerPairing(server);
    server.write("WELCOME");
    await asking;
    const [hello, welcome] = await Promise.all([once(server, "data"), once(client, "data")]);
    expect(`${hello} ${welcome}`).toBe("HELLO WELCOME");
  });

  test("a refusal reaches the client with its code", async () => {
    const { client, server } = linkedPair();
    const asking = askToPair(client, { code: null, name: "x".repeat(500) });
    expect(await pairRequest(server)).toEqual({ code: null, name: "x".repeat(64), rename: false });
    answerPairing(server, { code: "ERR_CODE", message: "used already" });
    await expect(asking).rejects.toMatchObject({ code: "ERR_CODE", message: "used already", retryable: false });
  });

  test.each([
    ["oversized", Buffer.from([0xff, 0xff, 0x7b])],
    ["empty", Buffer.from([0, 0])],
    ["not JSON", framed("{")],
    ["not an object", framed("[]")],
    ["nested deeply", framed("[".repeat(500))],
    ["without a name", framed(JSON.stringify({ code: null }))],
    ["with a code of another length", framed(JSON.stringify({ code: "AAAA", name: "n" }))],
    ["with a code that is no text", framed(JSON.stringify({ code: 7, name: "n" }))],
  ])("a request that is %s is refused", async (_, bytes) => {
    const { client, server } = linkedPair();
    client.write(bytes);
    expect(await codeOf(pairRequest(server))).toBe("ERR_TLS");
  });

  test("a truncated one is refused, before and in the middle of it", async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from([0]), framed("{}").subarray(0, 3)]) {
      const { client, server } = linkedPair();
      client.end(bytes);
      expect(await codeOf(pairRequest(server))).toBe("ERR_TLS");
    }
  });

  test("a slow peer is given up, however it dribbles", async () => {
    const { client, server } = linkedPair();
    client.write(Buffer.from([0, 200, 0x7b]));
    expect(await codeOf(pairRequest(server, 20))).toBe("ERR_TLS");
    const silent = linkedPair();
    expect(await codeOf(askToPair(silent.client, request, 20))).toBe("ERR_TLS");
  });

  test("an answer that makes up codes is no answer", async () => {
    const { client, server } = linkedPair();
    server.write(framed(JSON.stringify({ code: "\u001b[31m", message: "m" })));
    expect(await codeOf(askToPair(client, request))).toBe("ERR_TLS");
  });
});

function framed(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length >> 8, text.length & 0xff]), Buffer.from(text)]);
}
