import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as wire from "../../../../src/protocol/extended/wire.js";

const { ACK, DATA, EXTENDED, FIN, HELLO, PING, PROBE, PROBE_ANSWER, RESET } = wire;

function encode(bits: number, parts: (writer: wire.PacketWriter) => void): Uint8Array {
  const out = new Uint8Array(66_000);
  const writer = new wire.PacketWriter();
  writer.begin(out, 0, 0x01020304, 0xa1a2a3a4, 0x0708, bits);
  parts(writer);
  return out.slice(0, writer.end());
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function decode(bytes: Uint8Array): wire.Packet | null {
  const packet = wire.emptyPacket();
  return wire.decodePacket(bytes, 0, packet) === 0 ? null : packet;
}

test.each([0, 1, 7, 13])("a packet that claims %i bytes is none: it would lead back into the datagram", (length) => {
  const parts = [PING, 0x80, 0x10 | FIN, HELLO, ACK, PROBE, PROBE_ANSWER, RESET, DATA, wire.PARAMETERS];
  for (const bits of [...parts, ...parts.map((part) => part | 0x80)]) {
    const first = encode(PING, () => {});
    const datagram = Buffer.concat([first, encode(bits, (writer) => writer.skip(60))]);
    datagram.writeUInt16BE(length, first.length + 12);
    const packet = wire.emptyPacket();
    expect(wire.decodePacket(datagram, 0, packet)).toBe(first.length);
    expect(wire.decodePacket(datagram, first.length, packet), bits.toString(16)).toBe(0);
  }
});

const HEAD = "01020304 a1a2a3a4 0708";

describe("golden bytes (docs/protocol.md)", () => {
  test("the offer", () => {
    expect(wire.OFFER_BITS.toString(16)).toBe("a590");
    expect(wire.isOffer(0xa592)).toBe(true);
    expect([0x0002, 0xa58a, 0xa582, 0xa59a, 0xffff].map(wire.isOffer)).toEqual([false, false, false, false, false]);
    expect(wire.isFirstVersion(0xa58a)).toBe(true);
    expect([0x0002, 0xa592, 0xa582, 0xffff].map(wire.isFirstVersion)).toEqual([false, false, false, false]);
  });

  test("a refusal of a SYN, and what a client of the first version is answered with", () => {
    expect(hex(wire.encodeSynRefusal(0x01020304))).toBe("00000000" + "01020304" + "0000" + "a594");
    expect(hex(wire.encodeFirstVersionSynAck(7))).toBe("00000000" + "00000007" + "ffff" + "a58e");
    expect(hex(wire.encodeRefusal(0x01020304, 9, "version"))).toBe(
      "00000000" + "01020304" + "0009" + "8800" + "0010" + "0007",
    );
  });

  test.each<[string, number, (writer: wire.PacketWriter) => void, string]>([
    ["a ping", PING, () => {}, `${HEAD} 8400 000e`],
    [
      "an introduction",
      HELLO | PING,
      (w) => {
        w.uint32(0xcafebabe);
        w.uint32(0x51525354);
        w.uint16(0x1236);
      },
      `${HEAD} c400 0018 cafebabe 51525354 1236`,
    ],
    ["a reset", RESET, (w) => w.uint16(2), `${HEAD} 8800 0010 0002`],
    [
      "an acknowledgement",
      ACK,
      (w) => w.ack(0x11121314, 0x10000, 0x21222324, 0.8, Uint32Array.of(1, 2, 3, 4), 2, true),
      `${HEAD} 8004 002e 11121314 00010000 21222324 0064 02 01 00000001 00000002 00000003 00000004`,
    ],
    [
      "the last data, with an acknowledgement",
      ACK | DATA | FIN,
      (w) => {
        w.ack(5, 6, 7, Number.POSITIVE_INFINITY, new Uint32Array(0), 0, false);
        w.uint32(0x31323334);
        for (const half of [0x6869, 0x210a]) w.uint16(half);
      },
      `${HEAD} 8205 0026 00000005 00000006 00000007 ffff 00 00 31323334 6869210a`,
    ],
    [
      "a probe of 24 bytes",
      PROBE,
      (w) => {
        w.nonce(0xdeadbeef, 0x00c0ffee);
        w.pad(24);
      },
      `${HEAD} a000 0018 deadbeef 00c0ffee 0000`,
    ],
    [
      "its answer",
      PROBE_ANSWER,
      (w) => {
        w.nonce(0xdeadbeef, 0x00c0ffee);
        w.uint16(24);
      },
      `${HEAD} 9000 0018 deadbeef 00c0ffee 0018`,
    ],
  ])("%s", (_what, bits, parts, expected) => {
    const bytes = encode(bits, parts);
    expect(hex(bytes)).toBe(expected.replaceAll(" ", ""));
    expect(decode(bytes)).toMatchObject({ sequence: 0x01020304, tag: 0xa1a2a3a4, bits: bits | EXTENDED });
  });
});

describe("what is not a packet", () => {
  const ping = encode(PING, () => {});
  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["cut short", ping.subarray(0, 13)],
    ["longer than it is", Uint8Array.from([...ping.subarray(0, 13), 15])],
    ["shorter than its head", Uint8Array.from([...ping.subarray(0, 13), 13])],
    ["without the edition's bit", Uint8Array.from([...ping.subarray(0, 10), 0x04, ...ping.subarray(11)])],
    ["a SYN", Uint8Array.from([...ping.subarray(0, 11), 2, 0, 14])],
    [
      "more blocks than bytes",
      encode(ACK, (w) => w.ack(0, 0, 0, 0, new Uint32Array(0), 0, false)).map((b, i) => (i === 28 ? 1 : b)),
    ],
    [
      "bytes behind an acknowledgement",
      encode(ACK, (w) => {
        w.ack(0, 0, 0, 0, new Uint32Array(0), 0, false);
        w.uint16(0);
      }),
    ],
    ["data in a probe", encode(PROBE | DATA, (w) => w.nonce(1, 2))],
    ["data without its time", encode(DATA, (w) => w.uint16(0))],
  ])("%s", (_what, bytes) => {
    expect(decode(bytes)).toBeNull();
  });
});

const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });

describe("properties", () => {
  test("decode(encode(p)) is p, several to a datagram", () => {
    const parts = fc.record({
      hello: fc.option(uint32),
      ack: fc.option(
        fc.record({
          next: uint32,
          window: uint32,
          echo: uint32,
          delay: fc.integer({ min: 0, max: 65_534 }),
          blocks: fc.array(uint32, { maxLength: 64 }),
          duplicate: fc.boolean(),
        }),
      ),
      data: fc.option(fc.record({ time: uint32, bytes: fc.uint8Array({ maxLength: 2000 }), fin: fc.boolean() })),
      ping: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(parts, { minLength: 1, maxLength: 4 }), (packets) => {
        const datagram = Buffer.concat(
          packets.map(({ hello, ack, data, ping }) => {
            const bits =
              (hello === null ? 0 : HELLO) |
              (ack === null ? 0 : ACK) |
              (data === null ? 0 : DATA | (data.fin ? FIN : 0)) |
              (ping ? PING : 0);
            return encode(bits, (w) => {
              if (hello !== null) {
                w.uint32(hello);
                w.uint32(~hello);
                w.uint16(hello >>> 7);
              }
              if (ack !== null) {
                const pairs = ack.blocks.length >> 1;
                w.ack(
                  ack.next,
                  ack.window,
                  ack.echo,
                  ack.delay * 0.008,
                  Uint32Array.from(ack.blocks),
                  pairs,
                  ack.duplicate,
                );
              }
              if (data === null) return;
              w.uint32(data.time);
              for (const byte of data.bytes) w.uint8(byte);
            });
          }),
        );
        const packet = wire.emptyPacket();
        let at = 0;
        for (const { hello, ack, data, ping } of packets) {
          at = wire.decodePacket(datagram, at, packet);
          expect(at).toBeGreaterThan(0);
          if (hello !== null) {
            const expected = { helloTag: hello, helloNonce: ~hello >>> 0, helloProof: (hello >>> 7) & 0xffff };
            expect(packet).toMatchObject(expected);
          }
          if (ack !== null) {
            expect(packet).toMatchObject({
              acknowledgement: ack.next,
              windowBytes: ack.window,
              echo: ack.echo,
              firstIsDuplicate: ack.duplicate,
            });
            expect(packet.delayMs).toBeCloseTo(ack.delay * 0.008);
            expect([...packet.blocks.subarray(0, 2 * packet.blockCount)]).toEqual(
              ack.blocks.slice(0, ack.blocks.length & ~1),
            );
          }
          expect([...packet.datagram.subarray(packet.dataAt, packet.dataEnd)]).toEqual(
            data === null ? [] : [...data.bytes],
          );
          expect((packet.bits & PING) !== 0).toBe(ping);
        }
        expect(at).toBe(datagram.length);
      }),
    );
  });

  test("arbitrary bytes never throw, and never lead out of the datagram", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, at) => {
        if (bytes.length > 12) bytes[10] = (bytes[10] as number) | 0x80;
        const next = wire.decodePacket(bytes, at, wire.emptyPacket());
        expect(next === 0 || (next > at && next <= bytes.length)).toBe(true);
      }),
    );
  });

  test("times come back no earlier than they were, and two microseconds later at most", () => {
    const times = fc.double({ min: 0, max: 1e10, noNaN: true });
    fc.assert(
      fc.property(times, fc.double({ min: 0, max: 4_000_000, noNaN: true }), (time, later) => {
        const back = wire.fromWireTime(time + later, wire.toWireTime(time));
        expect(back - time).toBeGreaterThan(-1e-5);
        expect(back - time).toBeLessThan(0.0021);
      }),
    );
  });
});
