import type { ControllerName } from "../congestion/index.js";
import type { Memory } from "../memory.js";
import type { ReceiveBudget } from "../receive-budget.js";
import type { TraceSink } from "../trace.js";

/** A peer that says nothing for so long is given up, unless one of both ends asks for less. */
export const SILENCE_TIMEOUT_MS = 30_000;
/** What a peer that does not tell its own is taken to have; the handshake's, too. */
export const LEGACY_SILENCE_TIMEOUT_MS = 10_000;
/** No peer can ask for less. */
export const MIN_SILENCE_TIMEOUT_MS = 100;
/** However seldom a silent peer is asked for a sign of life, it is so often before it is given up. */
export const KEEP_ALIVES_PER_TIMEOUT = 3;
/** How long a RESET is repeated to a peer that goes on sending: longer than until its next sign of life. */
export const RESET_LINGER_MS = 4000;
/** No more than one of them in this time. */
export const RESET_INTERVAL_MS = 100;
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
  /** The nonce of the client's SYN, which the SYN|ACK and the introduction repeat. */
  readonly nonce: number;
  /** The SYN|ACK's bits that the classic edition does not use, which the introduction repeats. */
  readonly proof: number;
  /** The verification tags: what is sent to us carries ours. Each is its side's initial sequence number too. */
  readonly localTag: number;
  /** A server learns its client's from the HELLO. */
  readonly remoteTag: number;
  readonly windowBytes: number;
  readonly silenceTimeoutMs: number;
  /** A server's token for this connection's stateless resets; null where it has no key. */
  readonly resetToken: Uint8Array | null;
  readonly maxDatagramBytes: number;
  readonly congestion: ControllerName;
  readonly sendOnly: boolean;
  /** In [0, 1). */
  readonly random: () => number;
  readonly memory: Memory;
  readonly receiveBudget: ReceiveBudget;
  /** The peer has no more than the least window until `admit()` is called: reading what it sent does not admit it. */
  readonly requireAdmission: boolean;
  readonly trace: TraceSink | null;
}
