import { EventEmitter } from "node:events";
import { expect, test, vi } from "vitest";
import type { Listener } from "../../../../src/server/http/hub.js";
import { Subscriber } from "../../../../src/server/http/subscriber.js";
import type { EventSocket } from "../../../../src/server/http/upgrade.js";

/** A listener whose socket takes `reads` bytes of what is written to it. */
function rig() {
  const webSocket = Object.assign(new EventEmitter(), {
    readyState: 1,
    OPEN: 1,
    ping: vi.fn(),
    terminate: vi.fn(),
    close: vi.fn(),
  });
  const stream = Object.assign(new EventEmitter(), {
    writableLength: 0,
    write: (bytes: Buffer): void => {
      stream.writableLength += bytes.length;
    },
  });
  const read = (): void => {
    stream.writableLength = 0;
    stream.emit("drain");
  };
  const nothing = async () => ({ bytes: Buffer.alloc(0), last: 0, gone: false, more: false });
  const source = { page: nothing, gone: () => Buffer.alloc(0), silent: () => {}, leave: () => {} };
  const subscriber = new Subscriber({ webSocket, stream } as unknown as EventSocket, {} as Listener, source);
  subscriber.begin(null, 0, Buffer.from("hello"));
  return { subscriber, webSocket, stream, read };
}

test("who reads nothing is cut off by what passes, and who reads slowly is not", async () => {
  const silent = rig();
  const slow = rig();
  await new Promise(setImmediate);
  const bytes = Buffer.alloc(512 * 1024);
  let id = 0;
  for (; id < 128 + 1; id++) {
    for (const { subscriber } of [silent, slow]) subscriber.news(bytes, id + 1, id + 1);
    if (id % 50 === 49) {
      slow.read();
      await new Promise(setImmediate);
    }
  }
  expect(silent.webSocket.terminate).not.toHaveBeenCalled();
  for (const { subscriber } of [silent, slow]) subscriber.news(bytes, id + 1, id + 1);
  silent.subscriber.news(bytes, id + 2, id + 2);
  expect(silent.webSocket.terminate).toHaveBeenCalled();
  // No more than it has been given room for is kept for it.
  expect(silent.stream.writableLength).toBeLessThan(600 * 1024);
  expect(slow.webSocket.terminate).not.toHaveBeenCalled();
});

test("who answers no ping is cut off after eight", () => {
  const { subscriber, webSocket } = rig();
  for (let beat = 0; beat < 8; beat++) subscriber.beat();
  expect(webSocket.terminate).not.toHaveBeenCalled();
  webSocket.emit("pong");
  for (let beat = 0; beat < 9; beat++) subscriber.beat();
  expect(webSocket.terminate).toHaveBeenCalledOnce();
});
