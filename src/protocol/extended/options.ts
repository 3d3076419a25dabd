import type { ControllerName } from "../congestion/index.js";
import type { Memory } from "../memory.js";
import type { TraceSink } from "../trace.js";

/** A peer that says nothing for so long is given up. */
export const SILENCE_TIMEOUT_MS = 10_000;
/** A silent peer is asked for a sign of life this often, so that an idle connection lives on. */
export const KEEP_ALIVE_MS = 3000;
/** How long late FINs are answered after everything is done. */
export const FIN_WAIT_MS = 4000;
/** Or so many retransmission timeouts, if those are more. */
export const FIN_WAIT_TIMEOUTS = 8;
/** The backpressure of a socket: one window in flight, one waiting to keep the pipe full. */
export const WINDOWS_HELD = 2;

export interface ExtendedConnectionOptions {
  readonly role: "client" | "server";
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly connectionId: number;
  /** What a server's SYN|ACK acknowledges the SYN with: the next number in the classic edition's space. */
  readonly synAcknowledgement: number;
  /** The verification tags: what is sent to us carries ours. Each is its side's initial sequence number too. */
  readonly localTag: number;
  /** A server learns its client's from the HELLO. */
  readonly remoteTag: number;
  readonly windowBytes: number;
  readonly maxDatagramBytes: number;
  readonly congestion: ControllerName;
  readonly sendOnly: boolean;
  /** In [0, 1). */
  readonly random: () => number;
  readonly memory: Memory;
  readonly trace: TraceSink | null;
}
