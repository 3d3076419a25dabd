import { type Connection, DEFAULT_EDITION, emptyStats } from "../protocol/index.js";
import { SYSTEM_CLOCK } from "./clock.js";
import type { Driver } from "./driver.js";
import type { SocketParts } from "./socket-options.js";

/** The connection of a socket that has none yet: it takes nothing and gives nothing. */
export const NO_CONNECTION: Connection = {
  role: "client",
  edition: DEFAULT_EDITION,
  remoteAddress: "",
  remotePort: 0,
  localAddress: "",
  sendLocalAddress: "",
  idle: false,
  sendAddress: "",
  sendPort: 0,
  datagramBytes: 0,
  connectionId: 0,
  cwnd: 0,
  ssthresh: 0,
  bytesInFlight: 0,
  bytesHeld: 0,
  highWaterMark: 16 * 1024,
  readableBytes: 0,
  connected: false,
  ended: false,
  closed: true,
  failure: null,
  resetReason: null,
  stats: emptyStats(),
  shortSegments: "nagle",
  keepAliveMs: 0,
  silenceTimeoutMs: 0,
  open: () => {},
  expire: () => {},
  write: () => false,
  end: () => {},
  refuse: () => {},
  abort: () => {},
  discardInput: () => {},
  admit: () => {},
  read: () => null,
  transmit: () => 0,
  limitDatagrams: () => {},
  changeLocalAddress: () => {},
  deadline: () => Number.POSITIVE_INFINITY,
  signals: () => 0,
};

/** The part of a {@link Driver} that a socket uses. */
export type SocketDriver = Pick<
  Driver,
  "clock" | "now" | "attach" | "detach" | "drain" | "flush" | "linger" | "resetWhenArrived" | "updateRef"
>;

const NO_DRIVER: SocketDriver = {
  clock: SYSTEM_CLOCK,
  now: () => 0,
  attach: () => {},
  detach: () => {},
  drain: () => {},
  flush: () => {},
  linger: () => {},
  resetWhenArrived: () => {},
  updateRef: () => {},
};

/** What a socket is made of before `connect()`, and after it has failed for want of an address. */
export const UNCONNECTED: SocketParts = {
  connection: NO_CONNECTION,
  driver: NO_DRIVER,
  readable: true,
  foregroundFinWait: false,
  host: "",
  port: 0,
  kernelHint: () => null,
  localAddress: () => null,
  currentTier: () => "dgram",
};
