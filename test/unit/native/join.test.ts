import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Addon,
  addon,
  IS_APART,
  LENGTH,
  SEGMENT_BYTES,
  SLOT_BYTES,
  SLOTS_AT,
  TABLE_FIELDS,
  type Udp,
} from "../../../src/native/addon.js";
import {
  ACK,
  DATA,
  DATA_HEADER_BYTES,
  decodePacket,
  emptyPacket,
  JOINED,
  joinedPackets,
  PacketWriter,
  PING,
} from "../../../src/protocol/extended/wire.js";

const native = addon() as Addon;
const MODULUS = 2 ** 32;

interface Row {
  readonly bytes: Uint8Array;
  readonly segmentBytes: number;
}

/** Datagrams of the same length are handed to the kernel together, which leaves them merged. */
type Burst = readonly Uint8Array[];

/** What two sockets read that get the same: one takes it as it is, the other joins packets. */
class Twins {
  readonly #room = new Uint8Array(native.room());
  readonly #table = new Int32Array(native.room(), 0, SLOTS_AT / 4);
  readonly #readers: readonly [Udp, Udp];
  readonly #writers: readonly Udp[];

  constructor() {
    const pairs = [false, true].map((join) => {
      const [reader, writer] = [new native.Udp(), new native.Udp()];
      for (const udp of [reader, writer]) expect(udp.bind("127.0.0.1", 0, 0)).toBe(0);
      expect(reader.connect(...(writer.address() as [string, number]))).toBe(0);
      expect(writer.connect(...(reader.address() as [string, number]))).toBe(0);
      reader.gather(join);
      return { reader, writer };
    });
    this.#readers = pairs.map(({ reader }) => reader) as unknown as [Udp, Udp];
    this.#writers = pairs.map(({ writer }) => writer);
  }

  exchange(bursts: readonly Burst[]): { plain: Row[]; joined: Row[] } {
    for (const burst of bursts) {
      const bytes = Buffer.concat(burst);
      const segmentBytes = burst[0]?.length ?? 0;
      for (const writer of this.#writers) expect(writer.send(bytes, segmentBytes)).toBe(bytes.length);
    }
    const [plain, joined] = this.#readers.map((reader) => this.#read(reader)) as [Row[], Row[]];
    return { plain, joined };
  }

  close(): void {
    for (const udp of [...this.#readers, ...this.#writers]) udp.close();
  }

  #read(reader: Udp): Row[] {
    const rows: Row[] = [];
    for (;;) {
      const count = reader.read();
      expect(count).toBeGreaterThanOrEqual(0);
      if (count === 0) return rows;
      for (let slot = 0; slot < count; slot++) {
        const at = SLOTS_AT + slot * SLOT_BYTES;
        const field = (number: number) => this.#table[slot * TABLE_FIELDS + number] as number;
        const apart = field(IS_APART) === 0 ? undefined : native.take(slot);
        rows.push({
          bytes: apart?.subarray(0, field(LENGTH)) ?? this.#room.slice(at, at + field(LENGTH)),
          segmentBytes: field(SEGMENT_BYTES),
        });
      }
    }
  }
}

interface Given {
  readonly sequence: number;
  readonly dataBytes: number;
  readonly bits?: number;
  readonly tag?: number;
  readonly id?: number;
  readonly time?: number;
}

function packet({ sequence, dataBytes, bits = DATA, tag = 7, id = 9, time = sequence % 1000 }: Given): Uint8Array {
  const out = new Uint8Array(dataBytes + 64);
  const writer = new PacketWriter();
  writer.begin(out, 0, sequence % MODULUS, tag, id, bits);
  if (bits & ACK) writer.ack(1, 2, 3, 0, new Uint32Array(0), 0, false);
  if (bits & DATA) writer.uint32(time);
  for (let i = 0; i < dataBytes; i++) writer.uint8(((sequence + i) * 31) % 251);
  return out.slice(0, writer.end());
}

const decoded = emptyPacket();

/** The packets of rows, those that were joined taken apart again: each as text, with its data. Times are told on demand. */
function packetsOf(rows: readonly Row[], apart: boolean): { text: string; asks: boolean; time: number }[] {
  const found: { text: string; asks: boolean; time: number }[] = [];
  for (const { bytes, segmentBytes } of rows) {
    for (let at = 0; at < bytes.length; ) {
      const next = decodePacket(bytes, at, decoded);
      if (next === 0) break;
      const { sequence, tag, bits, dataAt, dataEnd, time } = decoded;
      const packets = apart ? joinedPackets(decoded, segmentBytes) : 1;
      const each = packets > 1 ? segmentBytes - DATA_HEADER_BYTES : Math.max(1, dataEnd - dataAt);
      const head = `${tag} ${bytes[at + 9]} ${bits & ~PING & ~JOINED}`;
      for (let from = dataAt; from === dataAt || from < dataEnd; from += each) {
        const data = Buffer.from(bytes.subarray(from, Math.min(from + each, dataEnd))).toString("latin1");
        const asks = (bits & PING) !== 0 && from + each >= dataEnd;
        found.push({ text: `${head} ${(sequence + from - dataAt) % MODULUS} ${data}`, asks, time });
      }
      at = next;
    }
  }
  return found;
}

function train(count: number, dataBytes: number, last: number = dataBytes, from = 1000): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    packet({ sequence: from + i * dataBytes, dataBytes: i === count - 1 ? last : dataBytes }),
  );
}

describe.skipIf(native === null)("consecutive packets of data", () => {
  function lengthsOf(bursts: readonly Burst[]): number[][] {
    const twins = new Twins();
    const { plain, joined } = twins.exchange(bursts);
    twins.close();
    expect(packetsOf(joined, true).map(({ text, asks }) => [text, asks])).toEqual(
      packetsOf(plain, false).map(({ text, asks }) => [text, asks]),
    );
    return joined.map(({ bytes, segmentBytes }) => [bytes.length, segmentBytes]);
  }
  const H = DATA_HEADER_BYTES;

  test("a long packet in a row of short ones that were joined is one, whoever sets the bit that marks those", () => {
    for (const bits of [DATA, DATA | JOINED]) {
      const long = packet({ sequence: 9000, dataBytes: 1000, bits });
      for (const row of [
        [...train(3, 100), long],
        [long, ...train(3, 100)],
      ]) {
        const twins = new Twins();
        const { joined } = twins.exchange([[Buffer.concat(row)]]);
        twins.close();
        const counts: number[] = [];
        for (const { bytes, segmentBytes } of joined) {
          expect(segmentBytes).toBe(100 + H);
          for (let at = 0; at < bytes.length; ) {
            at = decodePacket(bytes, at, decoded);
            counts.push(joinedPackets(decoded, segmentBytes));
          }
        }
        expect(counts.sort()).toEqual([1, 3]);
      }
    }
  });

  test.each<[string, Burst[], number[][]]>([
    ["that came merged", [train(44, 1454)], [[44 * 1454 + H, 1472]]],
    ["the last of which is shorter", [train(5, 1000, 300)], [[4300 + H, 1000 + H]]],
    [
      "that came alone",
      train(4, 500).map((one) => [one]),
      [
        [2000 + H, 500 + H],
        [0, 0],
        [0, 0],
        [0, 0],
      ],
    ],
    [
      "up to the longest packet",
      train(4, 30_000).map((one) => [one]),
      [
        [60_000 + H, 30_018],
        [0, 0],
        [60_018, 30_018],
        [0, 0],
      ],
    ],
    ["one that is alone", [train(1, 100)], [[118, 0]]],
    [
      "but not one behind a shorter",
      [train(2, 100, 50), train(1, 50, 50, 1150)],
      [
        [168, 118],
        [68, 0],
      ],
    ],
    [
      "but not a longer one",
      [train(1, 100), train(1, 101, 101, 1100)],
      [
        [118, 0],
        [119, 0],
      ],
    ],
    [
      "but not one that leaves a gap",
      [train(2, 100), train(1, 100, 100, 1300)],
      [
        [218, 118],
        [118, 0],
      ],
    ],
    [
      "but not one that comes again",
      [train(2, 100), train(1, 100)],
      [
        [218, 118],
        [118, 0],
      ],
    ],
    [
      "but not two trains of different packets in a slot",
      [[new Uint8Array(Buffer.concat([...train(2, 100), ...train(2, 50, 50, 5000)]))]],
      [[218 + 68 + 68, 118]],
    ],
    ["across the end of the numbers", [train(3, 100, 100, MODULUS - 150)], [[318, 118]]],
    [
      "up to one that asks for an acknowledgement",
      [
        [packet({ sequence: 0, dataBytes: 10 })],
        [packet({ sequence: 10, dataBytes: 10, bits: DATA | PING })],
        [packet({ sequence: 20, dataBytes: 10 })],
      ],
      [
        [38, 28],
        [0, 0],
        [28, 0],
      ],
    ],
    ...(
      [
        ["another tag", { tag: 8 }],
        ["another connection", { id: 10 }],
        ["an acknowledgement", { bits: DATA | ACK }],
      ] as const
    ).map(([what, other]): [string, Burst[], number[][]] => {
      const second = packet({ sequence: 10, dataBytes: 10, ...other });
      return [
        `but not with ${what}`,
        [[packet({ sequence: 0, dataBytes: 10 })], [second]],
        [
          [28, 0],
          [second.length, 0],
        ],
      ];
    }),
  ])("become one: those %s", (_what, bursts, expected) => {
    expect(lengthsOf(bursts)).toEqual(expected);
  });

  test.each<[string, Uint8Array[], Uint8Array[], number[][]]>([
    [
      "of which nobody may understand the rest",
      [packet({ sequence: 5, dataBytes: 0, bits: 0 }).fill(4, 11, 12), ...train(2, 100)],
      train(1, 100, 100, 1200),
      [
        [14 + 218, 118],
        [118, 0],
      ],
    ],
    [
      "that has no room for it",
      [...train(1, 3000), ...train(1, 31_500, 31_500, 50_000)],
      train(1, 31_500, 31_500, 81_500),
      [
        [3018 + 31_518, 0],
        [31_518, 0],
      ],
    ],
    [
      "that has room for it",
      [...train(1, 3000), ...train(1, 31_000, 31_000, 50_000)],
      train(1, 31_000, 31_000, 81_000),
      [
        [3018 + 62_018, 31_018],
        [0, 0],
      ],
    ],
  ])("are not put into a slot %s", (_what, together, alone, expected) => {
    expect(lengthsOf([[new Uint8Array(Buffer.concat(together))], alone])).toEqual(expected);
  });

  test("of several senders stay apart", () => {
    const reader = new native.Udp();
    reader.bind("0.0.0.0", 0, 0);
    reader.gather(true);
    const [, port] = reader.address() as [string, number];
    const writers = [new native.Udp(), new native.Udp(), new native.Udp()] as const;
    writers[0].bind("127.0.0.1", 0, 0);
    writers[1].bind("127.0.0.1", 0, 0);
    // Another address with the same port.
    writers[2].bind("127.0.0.2", (writers[0].address() as [string, number])[1], 0);
    const table = new Int32Array(native.room(), 0, SLOTS_AT / 4);
    const read = () => Array.from({ length: reader.read() }, (_, slot) => table[slot * TABLE_FIELDS + LENGTH]);
    const packets = train(3, 100);
    const sendAll = (from: readonly (0 | 1 | 2)[]) => {
      for (const [i, one] of packets.entries()) writers[from[i] ?? 0].sendTo(one, one.length, "127.0.0.1", port);
    };
    sendAll([0, 1, 0]);
    expect(read()).toEqual([118, 118, 118]);
    sendAll([0, 2, 2]);
    expect(read()).toEqual([118, 218, 0]);
    for (const udp of [reader, ...writers]) udp.close();
  });

  test("tell the time of the last", () => {
    const twins = new Twins();
    const { joined } = twins.exchange(train(3, 100).map((one) => [one]));
    twins.close();
    expect(packetsOf(joined, false)).toHaveLength(1);
    expect(packetsOf(joined, false)[0]?.time).toBe(1200 % 1000);
  });

  test("nothing else is changed, whatever comes", () => {
    const size = fc.constantFrom(1, 10, 10, 10, 400, 1454, 1454, 20_000);
    const step = fc.record({
      kind: fc.oneof(
        { weight: 20, arbitrary: fc.constant("next" as const) },
        {
          weight: 1,
          arbitrary: fc.constantFrom("skip", "again", "ack", "ping", "stranger", "other id", "noise", "lie", "void"),
        },
      ),
      size,
      count: fc.constantFrom(1, 1, 2, 5, 40),
      noise: fc.uint8Array({ maxLength: 40 }),
      together: fc.boolean(),
      glued: fc.integer({ min: 0, max: 9 }).map((one) => one === 0),
    });
    const twins = new Twins();
    try {
      fc.assert(
        fc.property(fc.constantFrom(0, 5000, MODULUS - 3000), fc.array(step, { maxLength: 12 }), (start, steps) => {
          const bursts: Burst[] = [];
          let sequence = start;
          let bytes = 0;
          for (const { kind, size: dataBytes, count, noise, together, glued } of steps) {
            if (kind === "skip") sequence += dataBytes;
            if (kind === "again") sequence -= Math.min(sequence, dataBytes);
            const bits = DATA | (kind === "ack" ? ACK : 0) | (kind === "ping" ? PING : 0);
            const other = { ...(kind === "stranger" ? { tag: 8 } : {}), ...(kind === "other id" ? { id: 10 } : {}) };
            const made: Uint8Array[] = [];
            for (let i = 0; i < count && bytes < 150_000; i++, bytes += dataBytes, sequence += dataBytes) {
              made.push(packet({ sequence, dataBytes, bits, ...other }));
            }
            if (made.length === 0) continue;
            if (kind === "noise") made.splice(made.length >> 1, 1, noise);
            if (kind === "void") made.splice(0, made.length, new Uint8Array(0));
            // Says that it is longer or shorter than it is.
            if (kind === "lie") (made[made.length >> 1] as Uint8Array)[13] = noise.length;
            const equal = made.every((one) => one.length === made[0]?.length);
            if (glued && dataBytes * count < 60_000) bursts.push([new Uint8Array(Buffer.concat(made))]);
            else if (together && equal) bursts.push(made);
            else bursts.push(...made.map((one) => [one]));
          }
          const { plain, joined } = twins.exchange(bursts.filter((burst) => (burst[0]?.length ?? 0) > 0));
          const told = (rows: Row[], apart: boolean) => packetsOf(rows, apart).map(({ text, asks }) => [text, asks]);
          expect(told(joined, true)).toEqual(told(plain, false));
          // Where it makes no sense, not a byte is missing; but what may be a mark of the addon is cleared there as well.
          const unmarked = (bytes: Uint8Array) => Buffer.from(bytes.map((byte) => byte & ~JOINED)).toString("hex");
          const rest = (rows: Row[]) => rows.map(({ bytes: all }) => unmarked(all.subarray(understood(all))));
          expect(rest(joined).filter((one) => one !== "")).toEqual(rest(plain).filter((one) => one !== ""));
        }),
        { numRuns: 400 },
      );
    } finally {
      twins.close();
    }
  });
});

/** How much of it makes sense, from its beginning. */
function understood(bytes: Uint8Array): number {
  let at = 0;
  for (let next = 0; at < bytes.length; at = next) {
    next = decodePacket(bytes, at, decoded);
    if (next === 0) break;
  }
  return at;
}
