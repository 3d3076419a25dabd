import type { Arrival } from "./arrival.js";
import { ClassicConnection } from "./classic-connection.js";
import type { ClassicConnectionOptions } from "./classic-options.js";
import type { ClientConnection } from "./connection.js";
import type { Edition } from "./editions.js";
import type { ExtendedOptions } from "./endpoint.js";
import { ExtendedConnection } from "./extended/connection.js";
import type { Cookie } from "./extended/cookies.js";
import { type ExtendedConnectionOptions, SILENCE_TIMEOUT_MS } from "./extended/options.js";
import { OFFER_BITS, PROOF_BITS } from "./extended/wire.js";
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
  | "nonce"
  | "proof"
  | "remoteTag"
  | "sendOnly"
>;

type ClassicParts = Pick<
  ClassicConnectionOptions,
  "role" | "remoteAddress" | "remotePort" | "connectionId" | "sendOnly"
> &
  Partial<Pick<ClassicConnectionOptions, "offer" | "synBackoff">>;

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
  readonly #classicServers: { readonly limitsAnswers: boolean; readonly random: (() => number) | undefined };

  constructor(options: {
    readonly edition: Edition;
    readonly receiveBufferBytes?: number;
    readonly trace?: TraceSink | null;
    readonly memory?: Memory;
    readonly extended?: ExtendedOptions | null;
    readonly silenceTimeoutMs?: number | undefined;
    readonly receiveBudget?: ReceiveBudget;
    readonly limitsAnswers?: boolean;
    readonly random?: () => number;
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
    this.#classicServers = { limitsAnswers: options.limitsAnswers ?? false, random: options.random };
  }

  client(remoteAddress: string, remotePort: number, sendOnly: boolean): RoutedConnection & ClientConnection {
    const extended = this.#extended;
    const parts = { role: "client", remoteAddress, remotePort, connectionId: 0, sendOnly } as const;
    if (extended === null) return this.#classic(parts);
    const required = extended.required ?? false;
    const { clientIsn, modulus } = this.#edition;
    const synAcknowledgement = toSequence(1, clientIsn, modulus);
    const nonce = this.#nonce(extended, synAcknowledgement);
    const classic = this.#classic({
      ...parts,
      // Whoever drops a SYN with bits that it does not know gets a plain one next.
      offer: (attempt) =>
        required || connection.expectsExtended || attempt % 2 === 0 ? { nonce, bits: OFFER_BITS } : null,
      synBackoff: boundedBackoff,
    });
    const connection = new OfferingConnection(classic, { required, nonce, synAcknowledgement }, (synAck) =>
      this.#create(
        {
          role: "client",
          remoteAddress,
          remotePort,
          localAddress: synAck.localAddress,
          connectionId: synAck.connectionId,
          nonce,
          proof: synAck.bits & PROOF_BITS,
          remoteTag: synAck.sequence,
          sendOnly,
        },
        synAck.now,
      ),
    );
    return connection;
  }

  /** A number of 32 bits that is neither 0, which is none, nor what a classic SYN|ACK acknowledges. */
  #nonce({ random }: ExtendedOptions, synAcknowledgement: number): number {
    const nonce = 1 + Math.floor(random() * 0xffff_fffe);
    return nonce < synAcknowledgement ? nonce : nonce + 1;
  }

  /** What a SYN with this nonce begins, or the HELLO of a client that was given a cookie. */
  extendedServer(first: Arrival, nonce: number, cookie: Readonly<Cookie>): ExtendedConnection {
    const { address, port, localAddress, now } = first;
    const { tag, connectionId, proof } = cookie;
    const parts = {
      role: "server" as const,
      remoteAddress: address,
      remotePort: port,
      localAddress,
      connectionId,
      nonce,
      proof,
      remoteTag: 0,
      sendOnly: false,
    };
    return this.#create(parts, now, tag);
  }

  classicServer(syn: Arrival, connectionId: number): ClassicConnection {
    const { address: remoteAddress, port: remotePort } = syn;
    const connection = this.#classic({ role: "server", remoteAddress, remotePort, connectionId, sendOnly: false });
    connection.accept(syn);
    return connection;
  }

  #create(parts: ExtendedParts, now: number, localTag?: number): ExtendedConnection {
    const extended = this.#extended as ExtendedOptions;
    const tag = localTag ?? randomWord(extended.random);
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
    const { limitsAnswers, random } = this.#classicServers;
    const edition = this.#edition;
    const isServer = parts.role === "server";
    const isRandom = isServer && random !== undefined;
    return new ClassicConnection({
      synBackoff: fixedTimeout,
      ...parts,
      edition,
      isn: isRandom ? Math.floor(random() * edition.modulus) : isServer ? edition.serverIsn : edition.clientIsn,
      answers: !isServer || !limitsAnswers ? "unlimited" : isRandom ? "limited-until-verified" : "limited",
      receiveBufferBytes: this.#receiveBufferBytes,
      silenceTimeoutMs: this.#silenceTimeoutMs,
      memory: this.#memory,
      receiveBudget: this.#receiveBudget,
      trace: this.#trace,
    });
  }
}

/** A number of 32 bits. */
export function randomWord(random: () => number): number {
  return Math.floor(random() * 0x1_0000_0000);
}
