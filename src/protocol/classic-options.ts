import type { Edition } from "./editions.js";
import type { Memory } from "./memory.js";
import type { ReceiveBudget } from "./receive-budget.js";
import type { SendBuffer } from "./send-buffer.js";
import type { TraceSink } from "./trace.js";

/**
 * How long the acknowledgement of a FIN waits for this side's own FIN, so that both travel in the one ACK|FIN that the
 * course servers send (a delayed acknowledgement, RFC 9293 section 3.8.6.3). Well under the peer's 500 ms.
 */
export const FIN_ACK_DELAY_MS = 200;

export interface ClassicConnectionOptions {
  readonly role: "client" | "server";
  readonly edition: Edition;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** A server's connection is given its ID; a client's learns it. */
  readonly connectionId: number;
  readonly receiveBufferBytes: number;
  /** A peer that says nothing for so long is given up. Undefined: the edition's 10 s. */
  readonly silenceTimeoutMs?: number | undefined;
  /** The peer is not expected to send data: once our FIN is acknowledged, FIN-WAIT is all that is left. */
  readonly sendOnly: boolean;
  /** The initial sequence number of this side. */
  readonly isn: number;
  readonly answers: Answers;
  /** What a client's n-th SYN (from 0) carries in the number and the bits that the classic protocol does not use; null: nothing. */
  readonly offer?: ((attempt: number) => { readonly nonce: number; readonly bits: number } | null) | undefined;
  /** How many retransmission timeouts a client waits behind its n-th SYN (from 0): 1 where the edition alone is spoken. */
  readonly synBackoff: (attempt: number) => number;
  readonly memory: Memory;
  readonly receiveBudget: ReceiveBudget;
  readonly trace: TraceSink | null;
}

/**
 * How many bytes a server sends to an address: any; no more than came from there until it has acknowledged an unguessable initial
 * sequence number; or never more.
 */
export type Answers = "unlimited" | "limited-until-verified" | "limited";

/** What a client has done while its SYN was not answered, for a connection of another edition that follows the handshake. */
export interface Begun {
  readonly buffer: SendBuffer;
  readonly ended: boolean;
  readonly writerWaits: boolean;
  /** How often the SYN was sent. */
  readonly syns: number;
}
