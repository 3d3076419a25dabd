import type { Arrival } from "./arrival.js";
import { ClassicConnection } from "./classic-connection.js";
import type { ClassicConnectionOptions } from "./classic-options.js";
import type { Edition } from "./editions.js";
import type { ExtendedOptions } from "./endpoint.js";
import { ExtendedConnection } from "./extended/connection.js";
import { type ExtendedConnectionOptions, SILENCE_TIMEOUT_MS } from "./extended/options.js";
import { OFFER_BITS } from "./extended/wire.js";
import {
  BASE_DATAGRAM_BYTES,
  DEFAULT_RECEIVE_BUFFER_BYTES,
  DEFAULT_RECEIVE_WINDOW_BYTES,
  MIN_RECEIVE_WINDOW_BYTES,
} from "./limits.js";
import { type Memory, PORTABLE_MEMORY } from "./memory.js";
import { OfferingConnection, type RoutedConnection } from "./offering-connection.js";
import { ReceiveBudget } from "./receive-budget.js";
import { toSequence } from "./sequence.js";
import type { TraceSink } from "./trace.js";

type ExtendedParts = Pick<
  ExtendedConnectionOptions,
  | "role"
  | "remoteAddress"
  | "remotePort"
  | "localAddress"
  | "connectionId"
  | "synAcknowledgement"
  | "remoteTag"
  | "sendOnly"
>;

type ClassicParts = Pick<
  ClassicConnectionOptions,
  "role" | "remoteAddress" | "remotePort" | "connectionId" | "sendOnly"
> &
  Partial<Pick<ClassicConnectionOptions, "synBits" | "synBackoff">>;

const plainSyn = (): number => 0;
/** The course editions repeat a SYN every 0.5 s. */
const fixedTimeout = (): number => 1;
/**
 * Exponential back-off (RFC 6298 section 5.5, RFC 8085 section 3.1.1) up to this multiple, so SYNs leave after 0, 0.5, 1.5, 2.5 s and
 * so on. A handshake is given up after 10 s: unbounded, there were 5 SYNs in it, and where a third of all packets is lost one
 * connection in 18 would not come about; with these 11 it is one in 640.
 */
const MAX_SYN_BACKOFF = 2;
const boundedBackoff = (attempt: number): number => Math.min(MAX_SYN_BACKOFF, 2 ** attempt);

/** Makes an endpoint's connections, of either edition, from what the endpoint was told. */
export class ConnectionFactory {
  readonly #edition: Edition;
  readonly #receiveBufferBytes: number;
  readonly #trace: TraceSink | null;
  readonly #memory: Memory;
  readonly #extended: ExtendedOptions | null;
  readonly #silenceTimeoutMs: number | undefined;
  readonly #receiveBudget: ReceiveBudget;

  constructor(options: {
    readonly edition: Edition;
    readonly receiveBufferBytes?: number;
    readonly trace?: TraceSink | null;
    readonly memory?: Memory;
    readonly extended?: ExtendedOptions | null;
    readonly silenceTimeoutMs?: number | undefined;
    readonly receiveBudget?: ReceiveBudget;
  }) {
    this.#edition = options.edition;
    // With less than a segment nothing would ever be accepted.
    const receiveBufferBytes = options.receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER_BYTES;
    this.#receiveBufferBytes = Math.max(receiveBufferBytes, options.edition.segmentBytes);
    this.#trace = options.trace ?? null;
    this.#memory = options.memory ?? PORTABLE_MEMORY;
    this.#receiveBudget = options.receiveBudget ?? new ReceiveBudget();
    this.#extended = options.extended ?? null;
    this.#silenceTimeoutMs = options.silenceTimeoutMs;
  }

  client(remoteAddress: string, remotePort: number, sendOnly: boolean): RoutedConnection {
    const extended = this.#extended;
    const always = extended?.required ?? false;
    const address = { role: "client", remoteAddress, remotePort, connectionId: 0, sendOnly } as const;
    if (extended === null) return this.#classic(address);
    const classic = this.#classic({
      ...address,
      // Whoever drops a SYN with bits that it does not know gets a plain one next.
      synBits: (attempt) => (always || attempt % 2 === 0 ? OFFER_BITS : 0),
      synBackoff: boundedBackoff,
    });
    const { clientIsn, modulus } = this.#edition;
    return new OfferingConnection(classic, always, toSequence(1, clientIsn, modulus), (synAck) =>
      this.#create(
        {
          role: "client",
          remoteAddress,
          remotePort,
          localAddress: synAck.localAddress,
          connectionId: synAck.connectionId,
          synAcknowledgement: 0,
          remoteTag: synAck.sequence,
          sendOnly,
        },
        synAck.now,
      ),
    );
  }

  /** What a SYN begins, or the HELLO of a client that was given a tag. */
  extendedServer(first: Arrival, connectionId: number, localTag?: number): ExtendedConnection {
    const { sequence, address, port, localAddress, now } = first;
    const parts = {
      role: "server" as const,
      remoteAddress: address,
      remotePort: port,
      localAddress,
      connectionId,
      synAcknowledgement: (sequence + 1) % this.#edition.modulus,
      remoteTag: 0,
      sendOnly: false,
    };
    return this.#create(parts, now, localTag);
  }

  classicServer(syn: Arrival, connectionId: number): ClassicConnection {
    const connection = this.#classic({
      role: "server",
      remoteAddress: syn.address,
      remotePort: syn.port,
      connectionId,
      sendOnly: false,
    });
    connection.accept(syn);
    return connection;
  }

  #create(parts: ExtendedParts, now: number, localTag?: number): ExtendedConnection {
    const extended = this.#extended as ExtendedOptions;
    const tag = localTag ?? Math.floor(extended.random() * 0x1_0000_0000);
    const options: ExtendedConnectionOptions = {
      ...parts,
      localTag: tag,
      silenceTimeoutMs: this.#silenceTimeoutMs ?? SILENCE_TIMEOUT_MS,
      resetToken: parts.role === "server" ? (extended.resetToken?.(tag, parts.connectionId) ?? null) : null,
      windowBytes: Math.max(MIN_RECEIVE_WINDOW_BYTES, extended.windowBytes ?? DEFAULT_RECEIVE_WINDOW_BYTES),
      maxDatagramBytes: extended.maxDatagramBytes?.(parts.remoteAddress) ?? BASE_DATAGRAM_BYTES,
      congestion: extended.congestion ?? "bbr",
      random: extended.random,
      memory: this.#memory,
      receiveBudget: this.#receiveBudget,
      requireAdmission: extended.requireAdmission ?? false,
      trace: this.#trace,
    };
    return new ExtendedConnection(options, now);
  }

  #classic(parts: ClassicParts): ClassicConnection {
    return new ClassicConnection({
      synBits: plainSyn,
      synBackoff: fixedTimeout,
      ...parts,
      edition: this.#edition,
      receiveBufferBytes: this.#receiveBufferBytes,
      silenceTimeoutMs: this.#silenceTimeoutMs,
      memory: this.#memory,
      receiveBudget: this.#receiveBudget,
      trace: this.#trace,
    });
  }
}
