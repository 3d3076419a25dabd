/**
 * The Confundo protocol as a pure state machine: no I/O, no clock, no randomness. `confundo` puts UDP and Node streams
 * around it; a simulation, another runtime or a proxy can use it as it is.
 *
 * @packageDocumentation
 */
export { type Connection, type ConnectionStats, type Failure, type ShortSegments, Signal } from "./connection.js";
export { DEFAULT_EDITION, EDITION_NAMES, EDITIONS, type Edition, type EditionName, editionNamed } from "./editions.js";
export { Endpoint, type EndpointOptions } from "./endpoint.js";
export { ProtocolError, type ProtocolErrorCode } from "./errors.js";
export { DEFAULT_RECEIVE_BUFFER_BYTES, HEADER_BYTES, MAX_CONNECTION_ID, MAX_DATAGRAM_BYTES } from "./limits.js";
export { ACK, decodeHeader, emptyHeader, encodeHeader, FIN, type Header, SYN } from "./packet.js";
export { toPosition, toSequence } from "./sequence.js";
export { type TraceSink, traceDropped, traceReceived, traceSent } from "./trace.js";
