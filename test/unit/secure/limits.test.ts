/** The limits of src/secure/limits.ts are reached here. */
import { randomBytes } from "node:crypto";
import { PassThrough } from "node:stream";
import type { TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import { pairRequest } from "../../../src/secure/exchange.js";
import { createIdentity, Resumptions, secureServer } from "../../../src/secure/index.js";
import {
  MAX_HANDSHAKE_BYTES,
  MAX_HANDSHAKE_MS,
  MAX_PAIRING_MS,
  MAX_PAIRING_REQUEST_BYTES,
  MAX_RESUMPTIONS,
  MAX_USED_RESUMPTIONS,
} from "../../../src/secure/limits.js";
import { resumptionOf } from "../../../src/secure/resumption.js";
import { linkedPair } from "../../support/duplex-pair.js";

describe("a handshake", () => {
  test("of more than MAX_HANDSHAKE_BYTES is given up", async () => {
    const { client, server } = linkedPair();
    client.on("error", () => {}).resume();
    const failing = expect(secureServer(server, { identity: createIdentity() })).rejects.toMatchObject({
      code: "ERR_TLS",
      message: expect.stringContaining(`longer than ${MAX_HANDSHAKE_BYTES} bytes`),
    });
    // Handshake records (RFC 8446, 5.1) of one message that is never whole.
    const record = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(0x4000)]);
    record.set([1, 1, 0xff, 0xff], 5);
    for (let i = 0; i < 4; i++) client.write(record);
    await failing;
  });

  test("has a time, and so has the pairing", () => {
    // Their tests give less: tls.test.ts, and below.
    expect([MAX_HANDSHAKE_MS, MAX_PAIRING_MS]).toEqual([10_000, 10_000]);
  });
});

describe("a pairing request", () => {
  const request = (bytes: number, more = bytes) => {
    const stream = new PassThrough();
    const head = Buffer.alloc(2);
    head.writeUInt16BE(bytes);
    stream.write(Buffer.concat([head, Buffer.alloc(more, " ")]));
    return stream;
  };

  test("of more than MAX_PAIRING_REQUEST_BYTES is refused before it is read", async () => {
    const bytes = MAX_PAIRING_REQUEST_BYTES + 1;
    await expect(pairRequest(request(bytes, 1))).rejects.toMatchObject({
      code: "ERR_TLS",
      message: expect.stringContaining(`a message of ${bytes} bytes, where ${MAX_PAIRING_REQUEST_BYTES} is the most`),
    });
  });

  test("that does not come is waited for until its time is over", async () => {
    await expect(pairRequest(request(100, 99), 20)).rejects.toMatchObject({
      code: "ERR_TLS",
      message: expect.stringContaining("no message within 0.02 s"),
    });
  });
});

describe("secrets for connecting again", () => {
  const streamOf = (secret: Buffer) => ({ exportKeyingMaterial: () => secret }) as unknown as TLSSocket;

  test("are remembered, and so many that were used", () => {
    const resumptions = new Resumptions();
    const streams = Array.from({ length: MAX_USED_RESUMPTIONS + 1 }, () => streamOf(randomBytes(40)));
    const known = (stream: TLSSocket) => ({ ...resumptionOf(stream), pin: "pin", shownMs: 0 });
    for (const stream of streams) {
      resumptions.remember(stream, "pin");
      expect(resumptions.use(known(stream))).toBe("used");
    }
    const [oldest, second] = streams as [TLSSocket, TLSSocket];
    expect(resumptions.use(known(oldest))).toBe("forgotten");
    expect(resumptions.use(known(second))).toBe("reused");
    const more = Array.from({ length: MAX_RESUMPTIONS + 1 }, () => streamOf(randomBytes(40)));
    for (const stream of more) resumptions.remember(stream, "another");
    expect(resumptions.find(resumptionOf(more[0] as TLSSocket).id)).toBeUndefined();
    expect(resumptions.find(resumptionOf(more[1] as TLSSocket).id)?.pin).toBe("another");
  });
});
