import { beforeEach, describe, expect, test } from "vitest";
import { extend, type Figures } from "../../../src/dashboard/history.js";
import { Live, type LiveEvent, type LiveState, type Socket } from "../../../src/dashboard/live.js";

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;
  close(): void {
    this.closed = true;
  }
  say(event: object): void {
    this.onmessage?.({ data: JSON.stringify(event) });
  }
}

describe("the events of the server", () => {
  let opened: { after: number | null; socket: FakeSocket }[];
  let timers: { callback: () => void; ms: number }[];
  let heard: LiveEvent[];
  let states: LiveState[];
  let live: Live;

  beforeEach(() => {
    opened = [];
    timers = [];
    heard = [];
    states = [];
    live = new Live({
      open: (after) => {
        const socket = new FakeSocket();
        opened.push({ after, socket });
        return socket;
      },
      setTimer: (callback, ms) => {
        const timer = { callback, ms };
        timers.push(timer);
        return timer;
      },
      clearTimer: (timer) => {
        timers = timers.filter((other) => other !== timer);
      },
    });
    live.listen((event) => heard.push(event));
    live.watch((state) => states.push(state));
  });

  const lose = () => opened.at(-1)?.socket.onclose?.();
  const wait = () => timers.pop()?.callback();

  test("go on after the last numbered one when the connection is lost", () => {
    live.start(7);
    opened[0]?.socket.onopen?.();
    opened[0]?.socket.say({ id: 9, at: 1, type: "file.stored", folder: "a", data: {} });
    opened[0]?.socket.say({ at: 2, type: "sessions", folder: null, data: {} });
    lose();
    wait();
    expect(opened.map(({ after }) => after)).toEqual([7, 9]);
    expect(heard.map(({ type }) => type)).toEqual(["file.stored", "sessions"]);
    expect(states).toEqual(["connecting", "open", "waiting", "connecting"]);
  });

  test("pauses grow up to 15 s, and begin anew once the server has spoken", () => {
    live.start(null);
    const pauses: (number | undefined)[] = [];
    for (let round = 0; round < 7; round++) {
      lose();
      pauses.push(timers.at(-1)?.ms);
      wait();
    }
    expect(pauses).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    opened.at(-1)?.socket.say({ at: 0, type: "hello" });
    lose();
    expect(timers.at(-1)?.ms).toBe(500);
  });

  test("stopping ends the socket and the pause, and late messages of it are nobody's", () => {
    live.start(null);
    const { socket } = opened[0] as { socket: FakeSocket };
    live.stop();
    socket.say({ at: 0, type: "hello" });
    socket.onclose?.();
    expect([socket.closed, timers.length, heard.length, live.state]).toEqual([true, 0, 0, "closed"]);
  });

  test("what is no event is passed over", () => {
    live.start(null);
    const { socket } = opened[0] as { socket: FakeSocket };
    for (const data of ["{", "null", "[]", '{"type":1}', undefined]) socket.onmessage?.({ data });
    expect(heard).toEqual([]);
  });
});

describe("the history of a connection", () => {
  const figures = (bytesReceived: number): Figures => ({
    cwnd: 10,
    ssthresh: 0,
    bytesInFlight: 0,
    smoothedRttMs: 5,
    minRttMs: 4,
    bytesSent: 0,
    bytesReceived,
    datagramsSent: 0,
    datagramsReceived: 0,
    retransmissions: 0,
    timeouts: 0,
    tier: "dgram",
    edition: "extended",
  });

  test("throughput is what has moved since the last reading", () => {
    const history = extend(extend(undefined, 1000, figures(100)), 1500, figures(1100));
    expect(history.throughput).toEqual([null, 2000]);
    expect(history.times).toEqual([1, 1.5]);
  });

  test("a reading of the same moment changes nothing; counters that went back begin anew", () => {
    const history = extend(undefined, 1000, figures(100));
    expect(extend(history, 1000, figures(200))).toBe(history);
    expect(extend(history, 2000, figures(50)).throughput).toEqual([null]);
  });

  test("is bounded", () => {
    let history = extend(undefined, 0, figures(0));
    for (let second = 1; second <= 1000; second++) history = extend(history, second * 1000, figures(second));
    expect([history.times.length, history.throughput.length, history.cwnd.length, history.rttMs.length]).toEqual([
      300, 300, 300, 300,
    ]);
  });
});
