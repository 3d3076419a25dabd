/** Headers of all editions, and packets of the extended one with all their parts. */
import assert from "node:assert/strict";
import {
  decodePacket,
  EXTENDED_HEADER_BYTES,
  emptyPacket,
  joinedPackets,
  PacketWriter,
} from "../../src/protocol/extended/wire.js";
import { EDITIONS } from "../../src/protocol/index.js";
import { decodeHeader, emptyHeader, encodeHeader, makesSense } from "../../src/protocol/packet.js";
import type { Target } from "./targets.js";

export const packetTarget: Target = {
  run(bytes) {
    const header = emptyHeader();
    if (decodeHeader(bytes, header)) {
      const again = new Uint8Array(12);
      encodeHeader(again, header.sequence, header.acknowledgement, header.connectionId, header.bits);
      assert.deepEqual(again, bytes.slice(0, 12));
      for (const { modulus } of Object.values(EDITIONS)) makesSense(header, modulus);
    } else assert.deepEqual(header, emptyHeader());
    const packet = emptyPacket();
    for (let at = 0; at < bytes.length; ) {
      const next = decodePacket(bytes, at, packet);
      if (next === 0) return;
      assert.ok(next >= at + EXTENDED_HEADER_BYTES && next <= bytes.length);
      const { dataAt, dataEnd, blockCount, delayMs, probeBytes } = packet;
      assert.ok(dataAt === 0 ? dataEnd === 0 : dataAt > at && dataAt <= dataEnd && dataEnd === next);
      assert.ok(blockCount >= 0 && blockCount <= 255 && delayMs >= 0 && probeBytes >= 0 && probeBytes <= 65_535);
      const joined = joinedPackets(packet, bytes[at] ?? 0);
      assert.ok(Number.isInteger(joined) && joined >= 1);
      at = next;
    }
  },
  seeds() {
    const seeds: Uint8Array[] = [new Uint8Array(12)];
    const write = (bits: number, parts: (writer: PacketWriter) => void): void => {
      const out = new Uint8Array(200);
      const writer = new PacketWriter();
      writer.begin(out, 0, 1000, 0xabcdef01, 7, bits);
      parts(writer);
      seeds.push(out.slice(0, writer.end()));
    };
    write(0x8000 | 0x4000, (writer) => {
      writer.uint32(5);
      writer.uint32(6);
      writer.uint16(0x1236);
    });
    write(0x8000 | 4, (writer) => {
      writer.uint32(2000);
      writer.uint32(65_536);
      writer.uint32(1);
      writer.uint16(9);
      writer.uint8(2);
      writer.uint8(1);
      for (const value of [2100, 2200, 2300, 2400]) writer.uint32(value);
    });
    write(0x8000 | 0x2000, (writer) => {
      writer.nonce(1, 2);
      writer.pad(100);
    });
    write(0x8000 | 0x1000, (writer) => {
      writer.nonce(1, 2);
      writer.uint16(100);
    });
    write(0x8000 | 0x0800, (writer) => writer.uint16(2));
    write(0x8000 | 0x0200 | 1, (writer) => {
      writer.uint32(77);
      writer.skip(30);
    });
    return seeds;
  },
};
