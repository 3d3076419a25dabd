/** Datagrams that an endpoint has dropped without a connection having received them, by reason. */
export interface DropCounts {
  /** It is shorter than a header, or a SYN with a number that its edition does not have. */
  malformed: number;
  /** It is for no connection: of one that is over, of another program, or noise. */
  unknownConnection: number;
  /** A client's introduction whose tag was not given to it, or more than 12 s ago, or whose connection is over. */
  invalidTag: number;
  /** SYNs of an address that has begun more handshakes than `handshakesPerSecond` allows and not finished them. */
  handshakeLimit: number;
  /** Classic SYNs while as many classic connections as allowed wait for the first sign of their client. */
  halfOpenLimit: number;
  /** SYNs and introductions while there are `maxConnections`, or no connection ID is free. */
  connectionLimit: number;
  /** SYNs and introductions at a server that has closed and still serves the connections it has. */
  serverClosed: number;
  /** Copies of the SYN of a connection that is over. */
  lateSyn: number;
  /** SYNs of the classic edition where `extended: "required"` was asked for. */
  notExtended: number;
  /** SYNs and introductions of the extended edition's first version where `extended: "required"` was asked for. */
  otherVersion: number;
}

export type DropReason = keyof DropCounts;

export function noDrops(): DropCounts {
  return {
    malformed: 0,
    unknownConnection: 0,
    invalidTag: 0,
    handshakeLimit: 0,
    halfOpenLimit: 0,
    connectionLimit: 0,
    serverClosed: 0,
    lateSyn: 0,
    notExtended: 0,
    otherVersion: 0,
  };
}
