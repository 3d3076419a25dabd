import { expect, test } from "vitest";
import { type Connection, EDITIONS, Endpoint, type Memory, Signal } from "../../../src/protocol/index.js";
import { PORTABLE_MEMORY } from "../../../src/protocol/memory.js";

const BYTES = 4 * 1024 * 1024;
const CHUNK = 64 * 1024;
const OUT = new Uint8Array(65_535);

class CountingMemory implements Memory {
  rooms = 0;
  copies = 0;

  allocate(bytes: number): Uint8Array {
    this.rooms++;
    // Whatever is in it: nobody may count on zeros.
    return PORTABLE_MEMORY.allocate(bytes).fill(0xa5);
  }

  copy(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void {
    this.copies++;
    PORTABLE_MEMORY.copy(source, from, to, target, at);
  }
}

function endpoint(memory: Memory, accept: boolean): Endpoint {
  const extended = { random: () => 0.5, required: true, maxDatagramBytes: () => 1472 };
  return new Endpoint({ edition: EDITIONS["fiu-2023"], extended, accept, memory });
}

test("a burst of packets takes a copy each on either side, and room for what is read together", () => {
  const sending = new CountingMemory();
  const receiving = new CountingMemory();
  const client = endpoint(sending, false);
  const server = endpoint(receiving, true);
  let now = 0;
  let received = 0;
  let accepted: Connection | null = null;

  /** A burst arrives as one read from the kernel does: packets back to back in memory that is only lent. */
  const carry = (from: Endpoint, connection: Connection, to: Endpoint): void => {
    for (let length = connection.transmit(OUT, now); length > 0; length = connection.transmit(OUT, now)) {
      const room = new Uint8Array(4 * length);
      room.set(OUT.subarray(0, length));
      const peer = to.receive(room.subarray(0, length), "peer", 1, now);
      if (to === server) accepted = peer;
    }
    from.settle(connection);
  };

  const connection = client.connect("peer", 1);
  connection.open(now);
  const chunk = new Uint8Array(CHUNK).map((_, index) => index % 251);
  let written = 0;
  let writable = true;
  for (let turn = 0; turn < 10_000 && received < BYTES; turn++) {
    now += 10;
    while (client.expire(now) !== null);
    while (server.expire(now) !== null);
    if ((connection.signals() & Signal.writable) !== 0) writable = true;
    while (writable && written < BYTES) {
      writable = connection.write(chunk, now);
      written += CHUNK;
    }
    carry(client, connection, server);
    const peer = accepted as Connection | null;
    if (peer === null) continue;
    for (let part = peer.read(); part !== null; part = peer.read()) {
      expect(part[0]).toBe((received % CHUNK) % 251);
      received += part.length;
    }
    carry(server, peer, client);
  }
  const { datagramsSent } = connection.stats;
  expect(received).toBe(BYTES);
  expect(datagramsSent).toBeGreaterThan(BYTES / 1472);
  expect(sending.copies).toBeLessThan(datagramsSent + (2 * BYTES) / CHUNK);
  expect(receiving.copies).toBeLessThan(datagramsSent + (2 * BYTES) / CHUNK);
  expect(sending.rooms + receiving.rooms).toBeLessThan((3 * BYTES) / CHUNK);
});
