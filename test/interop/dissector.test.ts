import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEFAULT_EDITION, editionNamed } from "../../src/protocol/index.js";
import { classicHost } from "../support/classic-hosts.js";
import { extendedHost } from "../support/extended-hosts.js";
import { PERFECT_LINK } from "../support/link.js";
import { Random } from "../support/random.js";
import { behaviour, NOTHING } from "../support/scenarios.js";
import { type HostOptions, Simulation } from "../support/simulation.js";

const SCRIPT = new URL("../../docs/confundo.lua", import.meta.url).pathname;
const PORTS: Record<string, number> = { client: 40_000, server: 5000 };
const installed = spawnSync("tshark", ["--version"]).status === 0;

interface Seen {
  readonly at: number;
  readonly from: string;
  readonly datagram: Uint8Array;
}

if (installed) {
  describe("tshark reads what the core writes", () => {
    let folder: string;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "confundo-dissector-"));
    });
    afterAll(() => {
      rmSync(folder, { recursive: true });
    });

    /** The values of some fields of each datagram; several of one field are separated by commas. */
    function dissect(seen: Seen[], fields: string[], options: string[] = []): string[][] {
      const file = join(folder, "trace.pcap");
      writeFileSync(file, pcap(seen));
      const wanted = fields.flatMap((field) => ["-e", field]);
      const args = ["-X", `lua_script:${SCRIPT}`, ...options, "-r", file, "-T", "fields", ...wanted];
      const text = execFileSync("tshark", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
      const lines = text.split("\n").filter((line) => line !== "");
      return lines.map((line) => line.split("\t"));
    }

    test("an extended connection, recognized by its SYN", () => {
      const seen = capture(
        extendedHost({ required: false }),
        (accept) => extendedHost({ accept }),
        { loss: 0.1 },
        60_000,
      );
      const fields = ["frame.protocols", "confundo.edition", "confundo.seq", "confundo.tag", "confundo.data_length"];
      const rows = dissect(seen, [...fields, "confundo.flags.syn", "confundo.malformed", "confundo.id"]);
      expect(rows).toHaveLength(seen.length);
      for (const [protocols] of rows) expect(protocols).toMatch(/^raw:ip:udp:confundo/);
      expect(rows.some((row) => row[6] !== "" && row[6] !== undefined)).toBe(false);
      const [syn, synAck] = rows as [string[], string[]];
      expect([syn[1], syn[2], synAck[1]]).toEqual(["offer", "50000", "accept"]);
      // A datagram may have several packets, with each field more than once.
      const data = rows.slice(2).filter((row) => /^extended(,extended)*$/.test(row[1] ?? ""));
      expect(data).toHaveLength(seen.length - 2);
      // Everything to the server has the tag of its SYN|ACK.
      const serverTag = `0x${Number(synAck[2]).toString(16).padStart(8, "0")}`;
      for (const [i, row] of rows.entries()) {
        if (i >= 2 && (seen[i] as Seen).from === "client") expect(row[3]?.split(",")[0]).toBe(serverTag);
      }
      const bytes = data.flatMap((row) => (row[4] ?? "").split(",")).reduce((sum, one) => sum + Number(one), 0);
      expect(bytes).toBeGreaterThanOrEqual(60_000);
    });

    test("every part of it", () => {
      const seen = capture(extendedHost(), (accept) => extendedHost({ accept }), { loss: 0.1 }, 200_000, true);
      const parts = ["hello", "window", "block.start", "nonce", "probe_length", "time", "reset"];
      const rows = dissect(
        seen,
        parts.map((part) => `confundo.${part}`),
      );
      for (const [i, part] of parts.entries()) {
        expect(`${part}: ${rows.some((row) => (row[i] ?? "") !== "")}`).toBe(`${part}: true`);
      }
      expect(rows.find((row) => (row[6] ?? "") !== "")?.[6]).toBe("1");
    });

    test("a classic connection, on port 5000 without being told, beside the courses' own dissector", () => {
      const edition = editionNamed(DEFAULT_EDITION);
      const seen = capture(classicHost(edition), (accept) => classicHost(edition, { accept }), {}, 2000);
      const fields = [
        "confundo.edition",
        "confundo.seq",
        "confundo.ack",
        "confundo.id",
        "confundo.data_length",
        "confundo.summary",
      ];
      const rows = dissect(seen, fields);
      expect(rows.slice(0, 4)).toEqual([
        ["classic", "50000", "0", "0", "0", "SYN 50000 0 id 0 len 0"],
        ["classic", "4321", "0", "1", "0", "ACK SYN 4321 0 id 1 len 0"],
        ["classic", "0", "4322", "1", "0", "ACK 0 4322 id 1 len 0"],
        ["classic", "0", "0", "1", "412", "0 0 id 1 len 412"],
      ]);
      expect(rows).toHaveLength(seen.length);
      // Whichever is loaded first, both are there.
      const theirs = join(folder, "course.lua");
      writeFileSync(
        theirs,
        `confundo = Proto("confundo", "CS118 Confundo Transport Protocol (CTP)")
        local f_seqno = ProtoField.uint32("confundo.seqno", "Sequence Number")
        local f_ack = ProtoField.uint32("confundo.ack", "ACK Number")
        local f_id = ProtoField.uint16("confundo.connectionId", "Connection ID")
        local f_flags = ProtoField.uint16("confundo.flags", "Flags")
        confundo.fields = { f_seqno, f_ack, f_id, f_flags }
        function confundo.dissector(tvb, pinfo, root) root:add(confundo, tvb(0, 12)):add(f_seqno, tvb(0, 4)) end
        DissectorTable.get("udp.port"):add(5001, confundo)`,
      );
      expect(dissect(seen, fields, ["-X", `lua_script:${theirs}`]).slice(0, 4)).toEqual(rows.slice(0, 4));
      const named = dissect(seen, ["confundo.seqno"], ["-X", `lua_script:${theirs}`, "-d", "udp.port==5000,confundo"]);
      expect(named[0]).toEqual(["50000"]);
    });

    test("what is not valid is marked, not taken for something", () => {
      const syn: Seen = {
        at: 0,
        from: "client",
        datagram: Uint8Array.of(0, 0, 0xc3, 0x50, 0, 0, 0, 0, 0, 0, 0xa5, 0x92),
      };
      const random = new Random(1);
      const broken = Array.from({ length: 200 }, (_, i): Seen => {
        const datagram = random.bytes(random.integer(12, 80));
        datagram[10] = 0x80 | random.integer(0, 0x7f);
        datagram[11] = random.pick([0, 1, 4, 5]);
        return { at: 1 + i, from: random.pick(["client", "server"]), datagram };
      });
      const rows = dissect([syn, ...broken], ["confundo.summary", "confundo.malformed", "_ws.expert.message"]);
      expect(rows).toHaveLength(201);
      expect(rows.filter(([info]) => /lua/i.test(info ?? ""))).toEqual([]);
      expect(rows.filter(([info]) => info?.includes("[not valid]")).length).toBeGreaterThan(150);
    });
  });
} else {
  test("the dissector's script is where the manual says", async () => {
    const { readFileSync } = await import("node:fs");
    expect(readFileSync(SCRIPT, "utf8")).toContain('Proto("confundo_transport"');
  });
}

/** What a client that sends a file, and its server, say to each other. */
function capture(
  clientHost: HostOptions,
  serverHost: (accept: () => ReturnType<typeof behaviour>) => HostOptions,
  link: { loss?: number },
  bytes: number,
  aborts = false,
): Seen[] {
  const seen: Seen[] = [];
  const file = new Random(3).bytes(bytes);
  const simulation = new Simulation(3, { ...PERFECT_LINK, bytesPerSecond: 1_000_000 }, { tolerant: aborts });
  const server = simulation.addHost(
    "server",
    serverHost(() => behaviour(NOTHING, file, { endsLast: true })),
  );
  const client = simulation.addHost("client", clientHost);
  simulation.onSent = (from, datagram) => seen.push({ at: simulation.now, from, datagram });
  simulation.at(30, () => simulation.changeLinks(() => ({ ...PERFECT_LINK, bytesPerSecond: 1_000_000, ...link })));
  const program = simulation.connect(client, server, behaviour(file, NOTHING));
  if (aborts) simulation.at(110, () => simulation.perform(program, (connection, now) => connection.abort(now)));
  simulation.run(20_000);
  return seen;
}

/** A capture file: raw IPv4 (LINKTYPE_RAW), without checksums. */
function pcap(seen: Seen[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(0x40000, 16);
  head.writeUInt32LE(101, 20);
  return Buffer.concat([head, ...seen.map(record)]);
}

function record({ at, from, datagram }: Seen): Buffer {
  const to = from === "client" ? "server" : "client";
  const length = 28 + datagram.length;
  const packet = Buffer.alloc(16 + length);
  packet.writeUInt32LE(Math.floor(at / 1000), 0);
  packet.writeUInt32LE(Math.floor((at % 1000) * 1000), 4);
  packet.writeUInt32LE(length, 8);
  packet.writeUInt32LE(length, 12);
  // IPv4: version and header length, total length, time to live, UDP, addresses.
  packet.writeUInt8(0x45, 16);
  packet.writeUInt16BE(length, 18);
  packet.writeUInt8(64, 24);
  packet.writeUInt8(17, 25);
  packet.writeUInt32BE(from === "client" ? 0x0a000001 : 0x0a000002, 28);
  packet.writeUInt32BE(from === "client" ? 0x0a000002 : 0x0a000001, 32);
  packet.writeUInt16BE(PORTS[from] as number, 36);
  packet.writeUInt16BE(PORTS[to] as number, 38);
  packet.writeUInt16BE(8 + datagram.length, 40);
  packet.set(datagram, 44);
  return packet;
}
