/** The sending side of OFFER and KNOWN, with another end in memory. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Asking, Curiosity } from "../../../src/sync/asking.js";
import { ChunkList, chunkHash, chunkLength, chunkRecord, Matcher } from "../../../src/sync/chunk.js";
import {
  MAX_COPIED_CHUNKS,
  MAX_DATA_BYTES,
  MAX_FOUND_CHUNKS,
  MAX_OFFER_CHUNKS,
  MAX_OFFERED_BYTES,
} from "../../../src/sync/limits.js";
import { Random } from "../../support/random.js";

const MIB = 1024 * 1024;
const noise = (seed: number, bytes: number): Buffer => Buffer.from(new Random(seed).bytes(bytes));

function cut(data: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < data.length; at += chunks.at(-1)?.length ?? 0) {
    chunks.push(data.subarray(at, at + chunkLength(data.subarray(at))));
  }
  return chunks;
}

interface Sending {
  readonly mirror?: readonly Buffer[];
  readonly base?: Buffer;
  readonly offers?: boolean;
  readonly start?: number;
  /** How late answers come, in turns of the event loop. */
  readonly late?: () => number;
}

/** Sends a file to another end that has others; what arrives, and how. */
async function send(target: Buffer, { mirror = [], base, offers = true, start = 0, late = () => 0 }: Sending) {
  const has = new Map(mirror.flatMap(cut).map((chunk) => [`${chunk.length}/${chunkHash(chunk)}`, chunk]));
  const numbered: (Buffer | undefined)[] = base === undefined ? [] : cut(base);
  const first = numbered.length;
  const baseList = numbered.map((chunk = Buffer.alloc(0)) => chunkRecord(chunk.length, chunkHash(chunk)));
  const arrived: Buffer[] = [];
  const figures = { sent: 0, offered: 0, read: 0, held: 0, messages: 0 };
  let done = start;
  let answers = Promise.resolve();
  const take = (content: Buffer): void => {
    arrived.push(Buffer.from(content));
    done += content.length;
  };
  const fill = async (buffer: Buffer): Promise<void> => {
    expect(target.copy(buffer, 0, figures.read)).toBe(buffer.length);
    figures.read += buffer.length;
    figures.held = Math.max(figures.held, figures.read - done);
  };
  const asking: Asking = new Asking({
    size: target.length,
    matcher: base === undefined ? undefined : new Matcher(new ChunkList(Buffer.concat(baseList))),
    offers,
    first,
    fill,
    skip: async (offset) => {
      figures.read = Math.max(figures.read, offset);
    },
    check: () => {},
    offer: (records) => {
      const list = new ChunkList(records);
      expect(list.count).toBeLessThanOrEqual(MAX_OFFER_CHUNKS);
      figures.offered += list.count;
      const bits = Buffer.alloc(Math.ceil(list.count / 8));
      for (let i = 0; i < list.count; i++) {
        const chunk = has.get(`${list.length(i)}/${list.hash(i)}`);
        numbered.push(chunk);
        if (chunk !== undefined) bits[i >> 3] = (bits[i >> 3] ?? 0) | (0x80 >> (i & 7));
      }
      expect(numbered.length - first).toBe(figures.offered);
      answers = answers.then(async () => {
        for (let turns = late(); turns > 0; turns--) await new Promise(setImmediate);
        expect(asking.known(bits)).toBe(true);
      });
    },
    copy: (from, count, bytes) => {
      expect(count).toBeLessThanOrEqual(MAX_COPIED_CHUNKS);
      // The chunks of one message are all of the older version, or all offered.
      expect(from >= first || from + count <= first).toBe(true);
      const before = done;
      for (const chunk of numbered.slice(from, from + count)) take(chunk as Buffer);
      expect(done - before).toBe(bytes);
      figures.messages++;
    },
    send: async (content) => {
      expect(content.length).toBeLessThanOrEqual(MAX_DATA_BYTES);
      figures.sent += content.length;
      take(content);
    },
    pass: async (to) => {
      const content = Buffer.alloc(to - figures.read);
      await fill(content);
      figures.sent += content.length;
      take(content);
    },
  });
  if (base === undefined) await asking.sample();
  await asking.run(start);
  expect(Buffer.concat(arrived).equals(target.subarray(start))).toBe(true);
  expect(figures.read).toBe(target.length);
  return figures;
}

describe("what arrives is what was sent", () => {
  const others = [noise(1, 3 * MIB), noise(2, MIB), Buffer.alloc(MIB)];
  const part = fc.record({ of: fc.nat(4), from: fc.double({ min: 0, max: 1, noNaN: true }), bytes: fc.nat(1.5 * MIB) });
  type Part = { of: number; from: number; bytes: number };
  const assemble = (parts: readonly Part[]): Buffer =>
    Buffer.concat(
      parts.map(({ of, from, bytes }, i) => {
        const other = others[of] ?? noise(10 + i, bytes);
        return other.subarray(Math.floor(from * other.length), Math.floor(from * other.length) + bytes);
      }),
    );

  test("whatever the mirror has, with and without an older version, however late the answers, from any offset", async () => {
    const settings = fc.record({
      base: fc.option(fc.constantFrom(0, 1, 2)),
      offers: fc.boolean(),
      start: fc.double({ min: 0, max: 1, noNaN: true }),
      late: fc.nat(5),
      seed: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(part, { minLength: 1, maxLength: 6 }),
        settings,
        async (parts, { base, offers, start, late, seed }) => {
          const random = new Random(seed);
          const content = assemble(parts);
          // Without either nothing is asked: the file is sent as it is.
          const asks = offers || base === null;
          const { held } = await send(content, {
            mirror: others,
            ...(base === null ? {} : { base: others[base] as Buffer }),
            offers: asks,
            start: seed % 3 === 0 ? Math.floor(start * content.length) : 0,
            late: () => random.integer(0, late),
          });
          expect(held).toBeLessThan(MAX_OFFERED_BYTES + 4 * MIB);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("what it costs", () => {
  test("a file that the mirror has: next to nothing, in few messages", async () => {
    const file = noise(3, 24 * MIB);
    const { sent, messages, offered } = await send(file, { mirror: [file] });
    expect(sent).toBe(0);
    expect(messages).toBeLessThan(offered / 10);
    expect(offered).toBeLessThan(MAX_FOUND_CHUNKS);
  });

  test("a file that is new: few chunks are offered, ever fewer of what follows", async () => {
    const small = await send(noise(4, 200_000), {});
    expect(small.offered).toBeLessThan(10);
    const large = await send(noise(4, 64 * MIB), {});
    expect(large.offered).toBeLessThan(150);
    expect(large.sent).toBe(64 * MIB);
  });

  test("an edited version: what was edited is not asked about", async () => {
    const base = noise(5, 8 * MIB);
    const edited = Buffer.from(base);
    edited.write("edited", 5e6);
    const { sent, offered, messages } = await send(edited, { base });
    expect(offered).toBe(0);
    expect(sent).toBeLessThan(300_000);
    expect(messages).toBeLessThan(10);
  });

  test("an edited version with much that is new: what the mirror has elsewhere is found", async () => {
    const [base, other] = [noise(5, 4 * MIB), noise(6, 4 * MIB)];
    const both = Buffer.concat([base.subarray(0, 2e6), other, base.subarray(2e6)]);
    const { sent } = await send(both, { base, mirror: [other] });
    expect(sent).toBeLessThan(900_000);
  });
});

test("where none of many small files had anything, one in sixteen is asked about, and all again when one has", () => {
  const curiosity = new Curiosity();
  const asked = (files: number, size: number, found: boolean): number => {
    let count = 0;
    for (let i = 0; i < files; i++) {
      if (!curiosity.asks(size)) continue;
      count++;
      curiosity.learn(found);
    }
    return count;
  };
  expect(asked(16, 200_000, false)).toBe(16);
  expect(asked(1000, 200_000, false)).toBeLessThan(130);
  expect(asked(10, 4 * MIB, false)).toBe(10);
  expect(asked(160, 200_000, true)).toBeGreaterThan(140);
});

test("an answer that nobody asked for, or of another length, is none", async () => {
  const options = {
    size: 100_000,
    offers: true,
    first: 0,
    fill: async (buffer: Buffer) => void buffer.fill(1),
    skip: async () => {},
    check: () => {},
    copy: () => {},
    send: async () => {},
    pass: async () => {},
    offer: () => {},
  };
  const asking = new Asking(options);
  expect(asking.known(Buffer.alloc(1))).toBe(false);
  await asking.sample();
  expect(asking.known(Buffer.alloc(2))).toBe(false);
});

test("when there will be no answers, it ends with what it is told", async () => {
  let over = false;
  const asking = new Asking({
    size: 100_000,
    offers: true,
    first: 0,
    fill: async (buffer: Buffer) => void buffer.fill(1),
    skip: async () => {},
    check: () => {
      if (over) throw new Error("lost");
    },
    copy: () => {},
    send: async () => {},
    pass: async () => {},
    offer: () => {},
  });
  await asking.sample();
  const running = asking.run(0);
  setImmediate(() => {
    over = true;
    asking.close();
  });
  await expect(running).rejects.toThrow("lost");
});
