/**
 * The Confundo protocol as a pure state machine: no I/O, no clock, no randomness. `confundo` puts UDP and Node streams
 * around it; a simulation, another runtime or a proxy can use it as it is.
 *
 * @packageDocumentation
 */
export { CONTROLLER_NAMES, type CongestionController, type ControllerName } from "./congestion/index.js";
export {
  type ClientConnection,
  type Connection,
  type ConnectionStats,
  emptyStats,
  type Failure,
  type ResetReason,
  type ShortSegments,
  Signal,
} from "./connection.js";
export { type DropCounts, type DropReason, noDrops } from "./drops.js";
export { DEFAULT_EDITION, EDITION_NAMES, EDITIONS, type Edition, type EditionName, editionNamed } from "./editions.js";
export { Endpoint, type EndpointOptions, type ExtendedOptions } from "./endpoint.js";
export { ProtocolError, type ProtocolErrorCode } from "./errors.js";
export type { Mac } from "./extended/cookies.js";
export { SILENCE_TIMEOUT_MS as EXTENDED_SILENCE_TIMEOUT_MS } from "./extended/options.js";
export { RESET_TOKEN_BYTES } from "./extended/wire.js";
export {
  BASE_DATAGRAM_BYTES,
  DEFAULT_RECEIVE_BUFFER_BYTES,
  HEADER_BYTES,
  MAX_BURST_BYTES,
  MAX_CONNECTION_ID,
  MAX_DATAGRAM_BYTES,
  MAX_DROPPED_CONNECTIONS,
  MIN_DATAGRAM_BYTES,
} from "./limits.js";
export type { Memory } from "./memory.js";
export { ACK, decodeHeader, emptyHeader, encodeHeader, FIN, type Header, SYN } from "./packet.js";
export { ReceiveBudget } from "./receive-budget.js";
export { toPosition, toSequence } from "./sequence.js";
export { type TraceSink, traceDropped, traceReceived, traceSent } from "./trace.js";
