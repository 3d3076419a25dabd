import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createIdentity, MIRROR_PROTOCOL, secureClient, secureServer } from "../../../src/secure/index.js";
import { Channel, type ChannelOptions } from "../../../src/sync/channel.js";
import type { SyncError } from "../../../src/sync/errors.js";
import { COALESCE_BYTES } from "../../../src/sync/limits.js";
import { encode, type Message } from "../../../src/sync/wire.js";
import { linkedPair } from "../../support/duplex-pair.js";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

function end(duplex: ConstructorParameters<typeof Channel>[0], options: Partial<ChannelOptions> = {}) {
  const heard: Message[] = [];
  const closes: (SyncError | undefined)[] = [];
  const channel = new Channel(duplex, {
    onMessage: (message) => heard.push(message),
    onClose: (error) => closes.push(error),
    ...options,
  });
  return { channel, heard, closes };
}

/** Lets streams move what they hold. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await turn();
}

/** Virtual time in small steps, with the streams moving in between. */
async function pass(ms: number): Promise<void> {
  for (let gone = 0; gone < ms; gone += 500) {
    vi.advanceTimersByTime(500);
    await settle();
  }
}

describe("Channel", () => {
  test("delivers messages in order, many in one write", async () => {
    const pair = linkedPair();
    const write = vi.spyOn(pair.client, "write");
    const [one, two] = [end(pair.client), end(pair.server)];
    for (let id = 0; id < 100; id++) one.channel.send({ type: "mkdir", id, path: "a" });
    await settle();
    expect(two.heard.map((message) => "id" in message && message.id)).toEqual([...Array(100).keys()]);
    expect(write).toHaveBeenCalledTimes(1);
    one.channel.destroy();
    two.channel.destroy();
  });

  test("a frame is free when it is copied: together with another at once, alone when TLS has encrypted it, else never", async () => {
    const plain = linkedPair();
    const other = end(plain.client);
    const freed: string[] = [];
    const frame = encode({ type: "data", id: 1, content: Buffer.alloc(COALESCE_BYTES) });
    other.channel.send({ type: "mkdir", id: 1, path: "a" });
    other.channel.sendFrame(frame, () => freed.push("together"));
    expect(freed).toEqual(["together"]);
    other.channel.sendFrame(frame, () => freed.push("alone"));
    await settle();

    const below = linkedPair();
    const identity = createIdentity({ commonName: "both" });
    const [client] = await Promise.all([
      secureClient(below.client, { identity, protocol: MIRROR_PROTOCOL, check: () => {} }),
      secureServer(below.server, { identity }),
    ]);
    const one = end(client.stream);
    one.channel.sendFrame(frame, () => freed.push("encrypted"));
    expect(freed).toEqual(["together"]);
    await settle();
    expect(freed).toEqual(["together", "encrypted"]);
    one.channel.destroy();
    other.channel.destroy();
  });

  test("an idle conversation of an hour lives on, with a sign of life every few seconds", async () => {
    const pair = linkedPair();
    const [one, two] = [end(pair.client), end(pair.server)];
    await pass(3600_000 / 20);
    expect([one.closes, two.closes]).toEqual([[], []]);
    const pings = one.channel.bytesSent / encode({ type: "ping", token: 0 }).length;
    expect(pings).toBeGreaterThan(180 / 10);
    one.channel.destroy();
    two.channel.destroy();
  });

  test("a peer that says nothing for 40 s is lost", async () => {
    const { client } = linkedPair();
    const { closes } = end(client);
    await pass(39_000);
    expect(closes).toEqual([]);
    await pass(2000);
    expect(closes).toMatchObject([{ code: "ERR_PEER_SILENT", retryable: true }]);
    expect(client.destroyed).toBe(true);
  });

  test("while we hold, silence is no sign; a peer that reads nothing is lost all the same", async () => {
    const pair = linkedPair({ highWaterMark: 1024 });
    const { channel, closes } = end(pair.client);
    channel.hold();
    await pass(90_000);
    expect(closes).toEqual([]);
    channel.send({ type: "data", id: 1, content: Buffer.alloc(100_000) });
    expect(channel.needsDrain).toBe(true);
    await pass(41_000);
    expect(closes).toMatchObject([{ code: "ERR_PEER_SILENT" }]);
  });

  test("holding stops delivery and, through the stream, the peer", async () => {
    const pair = linkedPair({ highWaterMark: 1024 });
    const [one, two] = [end(pair.client), end(pair.server)];
    two.channel.hold();
    const send = (id: number) => one.channel.send({ type: "data", id, content: Buffer.alloc(40_000) });
    send(1);
    await settle();
    // The first was on its way to the channel already when it stopped reading; the second stays in the stream.
    expect(send(2)).toBe(false);
    const drained = one.channel.drained();
    await settle();
    expect(two.heard).toEqual([]);
    expect(one.channel.needsDrain).toBe(true);
    two.channel.release();
    await drained;
    await settle();
    expect(two.heard).toHaveLength(2);
    one.channel.destroy();
    two.channel.destroy();
  });

  test("farewells of both sides close without an error", async () => {
    const pair = linkedPair();
    const one = end(pair.client);
    const two = end(pair.server);
    one.channel.goodbye();
    await settle();
    expect(two.heard).toEqual([{ type: "bye" }]);
    two.channel.goodbye();
    await settle();
    expect([one.closes, two.closes]).toEqual([[undefined], [undefined]]);
    expect(pair.client.destroyed && pair.server.destroyed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("an end without a farewell is a lost connection", async () => {
    const pair = linkedPair();
    const { closes } = end(pair.client);
    pair.server.end();
    await settle();
    expect(closes).toMatchObject([{ code: "ERR_CONNECTION_LOST" }]);
  });

  test("an error of the stream is handled, and its text kept", async () => {
    const pair = linkedPair();
    const { closes } = end(pair.client);
    pair.client.destroy(new Error("cable eaten by a dog"));
    await settle();
    expect(closes).toMatchObject([{ code: "ERR_CONNECTION_LOST", message: "cable eaten by a dog" }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("nonsense closes the channel, and the peer is told why", async () => {
    const pair = linkedPair();
    const { closes } = end(pair.client);
    const { heard } = end(pair.server);
    pair.server.write("GET / HTTP/1.1\r\n\r\n");
    await settle();
    expect(closes).toMatchObject([{ code: "ERR_PROTOCOL" }]);
    expect(heard).toMatchObject([{ type: "error", code: "ERR_PROTOCOL" }]);
    vi.runOnlyPendingTimers();
  });

  test("a probe is answered by a living peer, and by nobody else", async () => {
    const pair = linkedPair();
    const [one, two] = [end(pair.client), end(pair.server)];
    const alive = one.channel.probe(1000);
    await settle();
    await expect(alive).resolves.toBe(true);
    two.channel.hold();
    const silent = one.channel.probe(1000);
    await pass(1000);
    await expect(silent).resolves.toBe(false);
    const closed = one.channel.probe(1000);
    one.channel.destroy();
    two.channel.destroy();
    await expect(closed).resolves.toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });
});
