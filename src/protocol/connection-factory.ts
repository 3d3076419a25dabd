import type { Arrival } from "./arrival.js";
import { ClassicConnection } from "./classic-connection.js";
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

/** Makes an endpoint's connections, of either edition, from what the endpoint was told. */
export class ConnectionFactory {
  readonly #edition: Edition;
  readonly #receiveBufferBytes: number;
  readonly #trace: TraceSink | null;
  readonly #memory: Memory;
  readonly #extended: ExtendedOptions | null;
  readonly #silenceTimeoutMs: number | undefined;

  constructor(options: {
    readonly edition: Edition;
    readonly receiveBufferBytes?: number;
    readonly trace?: TraceSink | null;
    readonly memory?: Memory;
    readonly extended?: ExtendedOptions | null;
    readonly silenceTimeoutMs?: number | undefined;
  }) {
    this.#edition = options.edition;
    // With less than a segment nothing would ever be accepted.
    const receiveBufferBytes = options.receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER_BYTES;
    this.#receiveBufferBytes = Math.max(receiveBufferBytes, options.edition.segmentBytes);
    this.#trace = options.trace ?? null;
    this.#memory = options.memory ?? PORTABLE_MEMORY;
    this.#extended = options.extended ?? null;
    this.#silenceTimeoutMs = options.silenceTimeoutMs;
  }

  client(remoteAddress: string, remotePort: number, sendOnly: boolean): RoutedConnection {
    const extended = this.#extended;
    const always = extended?.required ?? false;
    const classic = this.#classic("client", remoteAddress, remotePort, 0, sendOnly, (attempt) =>
      // Whoever drops a SYN with bits that it does not know gets a plain one next.
      extended !== null && (always || attempt % 2 === 0) ? OFFER_BITS : 0,
    );
    if (extended === null) return classic;
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
    const connection = this.#classic("server", syn.address, syn.port, connectionId, false, () => 0);
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
      trace: this.#trace,
    };
    return new ExtendedConnection(options, now);
  }

  #classic(
    role: "client" | "server",
    remoteAddress: string,
    remotePort: number,
    connectionId: number,
    sendOnly: boolean,
    synBits: (attempt: number) => number,
  ): ClassicConnection {
    return new ClassicConnection({
      role,
      edition: this.#edition,
      remoteAddress,
      remotePort,
      connectionId,
      receiveBufferBytes: this.#receiveBufferBytes,
      silenceTimeoutMs: this.#silenceTimeoutMs,
      sendOnly,
      synBits,
      memory: this.#memory,
      trace: this.#trace,
    });
  }
}
