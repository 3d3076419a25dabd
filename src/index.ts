/**
 * Confundo: a reliable transport over UDP whose connections are Node streams.
 *
 * @packageDocumentation
 */
export {
  type ConnectionStats,
  DEFAULT_EDITION,
  type DropCounts,
  EDITION_NAMES,
  type EditionName,
  ProtocolError,
  type ShortSegments,
  type TraceSink,
} from "./protocol/index.js";
export * from "./stream/index.js";
