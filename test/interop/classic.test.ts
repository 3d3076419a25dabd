import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { EDITION_NAMES } from "../../src/protocol/index.js";
import { type ConfundoSocket, connect } from "../../src/stream/index.js";
import {
  COURSES,
  type CourseName,
  CourseServer,
  courseClient,
  encode,
  type Quirks,
} from "../support/classic-speaker.js";
import { LossyProxy, type Weather } from "../support/lossy-proxy.js";
import { Random } from "../support/random.js";
import { listening, pattern, readAll } from "../support/sockets.js";
import { TestClock } from "../support/test-clock.js";

const NAMES = Object.keys(COURSES) as CourseName[];
const ROUGH: Weather = { loss: 0.05, duplication: 0.05, reordering: 0.05, reorderMs: 50, delayMs: 3 };

/** Longer than the sequence space, and not a whole number of segments. */
function wrapping(course: CourseName): Buffer {
  return pattern(Math.floor(COURSES[course].maxSequence * 2.3) + 1);
}

/** Sends `data` with our client and gives what the course's server got. */
async function upload(course: CourseName, data: Buffer, quirks: Quirks = {}, weather?: Weather, seed = 1) {
  const clock = new TestClock();
  await using server = await CourseServer.start({ course, clock, ...quirks });
  await using proxy = await LossyProxy.start({
    seed,
    targetPort: server.port,
    clock,
    ...(weather === undefined ? {} : { toServer: weather, toClient: weather }),
  });
  const file = once(server, "file") as Promise<[number, Buffer]>;
  const client = connect({ host: "127.0.0.1", port: proxy.port, edition: course, readable: false, clock });
  const finishing = once(client, "finish");
  client.end(data);
  const [[id, content]] = await clock.run(Promise.all([file, finishing]));
  if (!client.closed) await clock.run(once(client, "close"));
  return { id, content, client, clock };
}

/** Our server, which keeps what each connection sent. */
async function receiver(course: CourseName, clock: TestClock) {
  const files = new Map<number, Promise<Buffer>>();
  const { server, port } = await listening({ edition: course, classicNumbers: "edition", clock }, (socket) => {
    const file = readAll(socket);
    file.catch(() => {});
    files.set(socket.connectionId, file);
  });
  return { server, port, files };
}

it("knows the same editions as the implementation", () => {
  expect([...NAMES].sort()).toEqual([...EDITION_NAMES].sort());
});

describe("our client and a course's server", () => {
  it.each(NAMES)("%s: a file longer than the sequence space", async (course) => {
    const data = wrapping(course);
    const { id, content, client } = await upload(course, data);
    expect(id).toBe(1);
    expect(content.equals(data)).toBe(true);
    expect(client.stats.retransmissions).toBe(0);
  });

  it.each(NAMES)("%s: through a rough network to a server that keeps nothing out of order", async (course) => {
    const data = wrapping(course);
    const { content } = await upload(course, data, {}, ROUGH, NAMES.indexOf(course) + 1);
    expect(content.equals(data)).toBe(true);
  });

  it("an empty file arrives as an empty file", async () => {
    expect((await upload("fiu-2023", Buffer.alloc(0))).content.length).toBe(0);
    expect((await upload("ucla-2017", Buffer.alloc(0), {}, ROUGH, 3)).content.length).toBe(0);
  });

  it.each<[string, Quirks]>([
    ["never acknowledges data that rides on the ACK", { ignoresRidingData: true }],
    ["answers the SYN with an ACK and then a SYN", { splitHandshake: true }],
    ["answers a FIN with an ACK only", { finAnswer: "ack-only" }],
    ["answers a FIN with an ACK and then a FIN", { finAnswer: "ack-then-fin" }],
    ["sends garbage in its acknowledgements", { garbage: true }],
    ["does all of that", { ignoresRidingData: true, splitHandshake: true, finAnswer: "ack-then-fin", garbage: true }],
  ])("a server that %s", async (_name, quirks) => {
    const data = pattern(30_000);
    expect((await upload("fiu-2023", data, quirks)).content.equals(data)).toBe(true);
    expect((await upload("fiu-2021", data, quirks, ROUGH, 5)).content.equals(data)).toBe(true);
  });

  it("a server that falls silent gives ETIMEDOUT after 10 s", async () => {
    const clock = new TestClock();
    await using server = await CourseServer.start({ course: "fiu-2023", clock, silentAfter: 5000 });
    const client = connect({ host: "127.0.0.1", port: server.port, clock });
    const failing = new Promise<Error>((resolve) => client.once("error", resolve));
    client.write(pattern(100_000));
    expect(await clock.run(failing)).toMatchObject({ code: "ETIMEDOUT" });
    expect(client.stats.bytesAcknowledged).toBeGreaterThan(0);
  });
});

describe("a course's client and our server", () => {
  it.each(NAMES)("%s: a file longer than the sequence space, through a rough network", async (course) => {
    const clock = new TestClock();
    const { server, port, files } = await receiver(course, clock);
    const seed = NAMES.indexOf(course) + 11;
    await using proxy = await LossyProxy.start({ seed, targetPort: port, toServer: ROUGH, toClient: ROUGH, clock });
    const data = wrapping(course);
    await clock.run(courseClient({ course, port: proxy.port, data, clock }));
    expect((await files.get(1))?.equals(data)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it.each(["ack-with-data", "bare-ack", "data-at-once"] as const)("the third packet is %s", async (third) => {
    const clock = new TestClock();
    const { server, port, files } = await receiver("fiu-2023", clock);
    const contents = [pattern(10_000), pattern(100), Buffer.alloc(0)];
    for (const data of contents) {
      await clock.run(courseClient({ course: "fiu-2023", port, data, clock, third }));
    }
    for (const [i, data] of contents.entries()) expect((await files.get(i + 1))?.equals(data)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("many at once, each through its own weather", async () => {
    const clock = new TestClock();
    const { server, port, files } = await receiver("fiu-2023", clock);
    await using proxy = await LossyProxy.start({ seed: 42, targetPort: port, toServer: ROUGH, toClient: ROUGH, clock });
    const sent = Array.from({ length: 30 }, (_, i) => Buffer.alloc(i * 1500, `client ${i} `));
    await clock.run(
      Promise.all(sent.map((data) => courseClient({ course: "fiu-2023", port: proxy.port, data, clock }))),
    );
    const got = await Promise.all([...files.values()]);
    const texts = (buffers: Buffer[]) => buffers.map((buffer) => `${buffer.length} ${buffer.subarray(0, 12)}`).sort();
    // Not always 1 to 30: a duplicate of a SYN that comes when its connection is over takes an ID for nothing.
    expect(files.size).toBe(sent.length);
    expect(texts(got)).toEqual(texts(sent));
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("one that falls silent gives its socket ETIMEDOUT, and no other", async () => {
    const clock = new TestClock();
    const { server, port, files } = await receiver("fiu-2023", clock);
    const silent = courseClient({ course: "fiu-2023", port, data: pattern(50_000), clock, silentAfter: 10_000 });
    await clock.run(silent);
    const data = pattern(20_000);
    await clock.run(courseClient({ course: "fiu-2023", port, data, clock }));
    await expect(clock.run(files.get(1) as Promise<Buffer>)).rejects.toMatchObject({ code: "ETIMEDOUT" });
    expect((await files.get(2))?.equals(data)).toBe(true);
    await clock.run(server[Symbol.asyncDispose]());
  });
});

describe("hostile packets", () => {
  it("harm neither the server nor an honest client beside them", async () => {
    const clock = new TestClock();
    const { server, port, files } = await receiver("fiu-2023", clock);
    const attacker = createSocket("udp4");
    const answers: Buffer[] = [];
    attacker.on("message", (datagram) => answers.push(datagram));
    const send = (bytes: Uint8Array) => attacker.send(bytes, port, "127.0.0.1");
    const data = pattern(150_000);
    const honest = courseClient({ course: "fiu-2023", port, data, clock });
    await clock.settle();

    const random = new Random(7);
    for (let i = 0; i < 2000; i++) {
      send(random.bytes(random.pick([0, 1, 11, 12, 13, 424, 1400])));
      // The honest client's ID and likely numbers, from another address.
      const sequence = random.integer(0, 60_000);
      send(encode(sequence, random.integer(0, 60_000), 1, random.integer(0, 7), Buffer.from(random.bytes(20))));
      send(encode(sequence, 0, random.integer(1, 65_535), 1));
      if (i % 100 === 0) await clock.settle();
    }
    await clock.run(honest);
    expect((await files.get(1))?.equals(data)).toBe(true);
    // Whatever was answered was a SYN that happened to be right, or looked like a packet of an extended connection that is not known.
    for (const answer of answers) {
      const isStatelessReset = answer.length === 32 && answer.readUInt16BE(10) === 0x8800;
      expect(isStatelessReset || answer.readUInt16BE(10) === 6).toBe(true);
    }
    attacker.close();
    server.close();
    await clock.run(once(server, "close"));
  });

  it("from a client's own address harm no other connection", async () => {
    const clock = new TestClock();
    const { server, port, files } = await receiver("fiu-2023", clock);
    const data = pattern(100_000);
    const honest = courseClient({ course: "fiu-2023", port, data, clock });
    const attacker = createSocket("udp4");
    const greeted = once(attacker, "message");
    attacker.send(encode(50_000, 0, 0, 2), port, "127.0.0.1");
    await greeted;
    const random = new Random(3);
    for (let i = 0; i < 2000; i++) {
      const [sequence, acknowledgement] = [random.integer(0, 50_001), random.integer(0, 50_001)];
      const payload = Buffer.from(random.bytes(random.pick([0, 1, 412, 1200])));
      for (const id of [1, 2]) {
        attacker.send(encode(sequence, acknowledgement, id, random.integer(0, 7), payload), port, "127.0.0.1");
      }
      if (i % 50 === 0) await clock.settle();
    }
    attacker.send(Buffer.alloc(65_507, 0xff), port, "127.0.0.1");
    await clock.run(honest);
    const got = await clock.run(Promise.allSettled(files.values()));
    expect(got.some((file) => file.status === "fulfilled" && file.value.equals(data))).toBe(true);
    attacker.close();
    await clock.run(server[Symbol.asyncDispose]());
  });

  it("to a client harm nothing: acknowledgements of what was never sent, foreign IDs, short ones, long ones", async () => {
    const clock = new TestClock();
    const random = new Random(9);
    await using server = await CourseServer.start({ course: "fiu-2023", clock });
    const hostile: Buffer[] = Array.from({ length: 300 }, () =>
      random.chance(0.3)
        ? Buffer.from(random.bytes(random.integer(0, 30)))
        : encode(random.integer(0, 70_000), random.integer(25_000, 49_999), random.integer(0, 3), random.integer(0, 7)),
    );
    // In front of the server, so that they come from the address that the client talks to.
    await using proxy = await LossyProxy.start({ seed: 1, targetPort: server.port, clock });
    const data = pattern(20_000);
    const file = once(server, "file") as Promise<[number, Buffer]>;
    const client: ConfundoSocket = connect({ host: "127.0.0.1", port: proxy.port, readable: false, clock });
    await clock.run(once(client, "connect"));
    const stranger = createSocket("udp4");
    for (const packet of hostile) stranger.send(packet, client.localPort, "127.0.0.1");
    proxy.inject(hostile.filter((packet) => packet.length < 12 || packet.readUInt16BE(8) !== 1));
    client.end(data);
    const [[, content]] = await clock.run(Promise.all([file, once(client, "finish")]));
    expect(content.equals(data)).toBe(true);
    stranger.close();
  });
});
