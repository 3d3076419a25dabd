import { constants } from "node:os";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectedOptions, DatagramHandlers, DatagramSocket } from "../../../src/stream/datagram/index.js";
import { type ConfundoError, connect } from "../../../src/stream/index.js";
import { TestClock } from "../../support/test-clock.js";

/** A server on another host: nothing arrives there, and ICMP tells what a test says of the nth datagram. */
const HOST = "203.0.113.7";
const PORT = 5000;
let sent = 0;
let isRefused: (nth: number) => boolean = () => false;

vi.mock("../../../src/stream/datagram/index.js", async (original) => ({
  ...(await original<typeof import("../../../src/stream/datagram/index.js")>()),
  openConnected: async ({ first, handlers }: ConnectedOptions): Promise<DatagramSocket> => {
    const socket = new FarSocket(handlers);
    if (first !== undefined) socket.send();
    return socket;
  },
}));

class FarSocket implements DatagramSocket {
  readonly tier = "dgram";
  readonly droppedBytes = 0;
  readonly #handlers: DatagramHandlers;

  constructor(handlers: DatagramHandlers) {
    this.#handlers = handlers;
  }

  /** As with a kernel, the answer comes later. */
  send(): boolean {
    if (isRefused(++sent)) setImmediate(() => this.#handlers.onHint(refusal()));
    return true;
  }

  address() {
    return { address: "198.51.100.1", port: 40_000, family: "IPv4" as const };
  }

  maxDatagramBytes(): number {
    return 1472;
  }

  enableCoalescing(): boolean {
    return false;
  }

  bePatient(): void {}
  ref(): void {}
  unref(): void {}
  close(): void {}
}

function refusal(): NodeJS.ErrnoException {
  return Object.assign(new Error("recvmmsg ECONNREFUSED"), {
    code: "ECONNREFUSED",
    errno: -constants.errno.ECONNREFUSED,
    syscall: "recvmmsg",
  });
}

beforeEach(() => {
  sent = 0;
});

/** The error of a connection to the far server, and how long it took. */
async function failure(options: { retryRefused?: boolean } = {}): Promise<{ error: ConfundoError; ms: number }> {
  const clock = new TestClock();
  const began = clock.now();
  const client = connect({ host: HOST, port: PORT, clock, ...options });
  const error = await clock.run(new Promise<ConfundoError>((resolve) => client.once("error", resolve)));
  return { error, ms: clock.now() - began };
}

describe("a port of another host that refuses", () => {
  it("is refused at the third refusal in a row", async () => {
    isRefused = () => true;
    const { error, ms } = await failure();
    expect(error).toMatchObject({ code: "ECONNREFUSED", syscall: "connect", address: HOST, port: PORT });
    expect(error.errno).toBe(-constants.errno.ECONNREFUSED);
    expect(sent).toBe(3);
    expect(ms).toBeLessThan(10_000);
  });

  it.each([1, 2])(
    "%s times, and then answers with silence, is silent: no refusal is named as the cause",
    async (times) => {
      isRefused = (nth) => nth <= times;
      const { error, ms } = await failure();
      expect(ms).toBe(10_000);
      expect(error).toMatchObject({ code: "ETIMEDOUT", syscall: "connect" });
      expect(error.message).not.toContain("ECONNREFUSED");
      expect(error.cause).toBeUndefined();
    },
  );

  it("now and then, never three times in a row, is silent", async () => {
    isRefused = (nth) => nth % 3 !== 0;
    const { error, ms } = await failure();
    expect(ms).toBe(10_000);
    expect(error.code).toBe("ETIMEDOUT");
  });

  it("for all of the handshake is named as the cause where refusals are to be retried", async () => {
    isRefused = () => true;
    const { error, ms } = await failure({ retryRefused: true });
    expect(ms).toBe(10_000);
    expect(error).toMatchObject({ code: "ETIMEDOUT", cause: { code: "ECONNREFUSED" } });
    expect(error.message).toContain("ECONNREFUSED: nothing listens on that port");
  });
});
