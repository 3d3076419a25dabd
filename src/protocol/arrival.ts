import { emptyHeader, type Header } from "./packet.js";

/**
 * A datagram that has arrived: its header, its bytes, where it came from, and when. An endpoint has one record for all that
 * come, which goes through its functions as one argument: keep none of it by reference.
 */
export interface Arrival extends Header {
  datagram: Uint8Array;
  address: string;
  port: number;
  /** The address of this machine that it came to, any string; empty where there is only one. */
  localAddress: string;
  now: number;
  /**
   * Consecutive packets of the extended edition that were nothing but data, each so long but the last, which may have been
   * shorter, came as one: a longer one was several. 0: it has packets only as they were sent.
   */
  segmentBytes: number;
}

export function emptyArrival(): Arrival {
  return {
    ...emptyHeader(),
    datagram: new Uint8Array(0),
    address: "",
    port: 0,
    localAddress: "",
    now: 0,
    segmentBytes: 0,
  };
}
