import dns from "node:dns";
import { isIP } from "node:net";
import {
  type Connection,
  DEFAULT_EDITION,
  type DropCounts,
  Endpoint,
  type ExtendedOptions,
  editionNamed,
  MAX_CONNECTION_ID,
  MAX_DROPPED_CONNECTIONS,
} from "../protocol/index.js";
import { checkSilenceTimeout } from "./arguments.js";
import {
  type DatagramSocket,
  openSharedSoon,
  patienceMs,
  type SharedDatagramSocket,
  type Tier,
} from "./datagram/index.js";
import { type DatagramPort, Driver } from "./driver.js";
import { bindError, type ConfundoError } from "./errors.js";
import { extendedOptions, newMac, newResetTokens, secureRandom, transmissionBytes } from "./extended.js";
import { NODE_MEMORY } from "./memory.js";
import { RECEIVE_BUDGET } from "./receive-budget.js";
import type { ListenOptions, ServerOptions, StatelessResetCounts } from "./server-options.js";
import type { AddressInfo } from "./socket-options.js";

/** From this many bytes either way on, a connection of the extended edition is worth a UDP socket of its own. */
const BULK_BYTES = 256 * 1024;

/** A UDP socket of its own for one connection's peer; null where that is not to be had. */
interface Peer {
  readonly address: string;
  readonly port: number;
  readonly localAddress: string;
  readonly udp: DatagramSocket | null;
}

/** A server's UDP socket, which outlives the server as long as late FINs are to be answered. */
export class ServerPort implements DatagramPort {
  /** Those that stay open for the connections they still have. What only waits for late FINs gives way to a new server. */
  static readonly #late = new Set<ServerPort>();

  readonly transmissionBytes: number;
  readonly repeatsResets = true;
  readonly #options: ServerOptions;
  readonly #driver: Driver;
  readonly #endpoint: Endpoint;
  /** The ways of connections that move much, and of those that are closed, for their statistics. */
  readonly #peers = new WeakMap<Connection, Peer>();
  #udp: SharedDatagramSocket | null = null;
  #ownTier: Tier = "dgram";
  #sharesPort = false;
  #listening = true;

  /** Whether new connections are taken. */
  get listening(): boolean {
    return this.#listening;
  }

  /** What the endpoint has dropped; goes on counting. */
  get drops(): Readonly<DropCounts> {
    return this.#endpoint.drops;
  }

  /** Stateless resets of the endpoint; goes on counting. */
  get statelessResets(): StatelessResetCounts {
    return this.#endpoint.statelessResets;
  }

  constructor(options: ServerOptions, accept: (connection: Connection, driver: Driver) => void) {
    const edition = editionNamed(options.edition ?? DEFAULT_EDITION);
    const pathBytes = (address: string) => this.#udp?.maxDatagramBytes(address) ?? 0;
    const extended = verifying(extendedOptions(options, pathBytes), options);
    const { acceptAtSyn = false, verifyAddresses = true } = options;
    const { classicNumbers = acceptAtSyn || !verifyAddresses ? "edition" : "random" } = options;
    this.#options = options;
    this.transmissionBytes = transmissionBytes(edition, extended);
    this.#endpoint = new Endpoint({
      memory: NODE_MEMORY,
      receiveBudget: RECEIVE_BUDGET,
      edition,
      extended,
      accept: true,
      limitsAnswers: verifyAddresses,
      ...(classicNumbers === "random" ? { random: secureRandom } : {}),
      silenceTimeoutMs: checkSilenceTimeout(options.silenceTimeoutMs),
      trace: options.trace ?? null,
      ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    });
    this.#driver = new Driver(this.#endpoint, this, options.clock, (connection) => accept(connection, this.#driver));
    this.#driver.retain(true);
  }

  /** Binds to an IP address, or to all, before it returns where the runtime can; a name is looked up first. */
  bind(options: ListenOptions & { readonly port: number }, done: (error: Error | null) => void): void {
    const { host, port } = options;
    this.#sharesPort = options.reusePort === true;
    if (host == null || host === "") {
      this.#bindTo("::", options, (error) => {
        // No IPv6 on this machine.
        if (error?.code === "EADDRNOTAVAIL") this.#bindTo("0.0.0.0", options, done);
        else done(error);
      });
    } else if (isIP(host) !== 0) {
      this.#bindTo(host, options, done);
    } else {
      // The courses' clients know IPv4 only, so a name means that first.
      dns.lookup(host, { order: "ipv4first" }, (cause, address) => {
        if (cause !== null) done(bindError(cause, host, port));
        else if (this.#listening) this.#bindTo(address, options, done);
        else done(null);
      });
    }
  }

  /** Some more are accepted, to be told that there are too many. */
  limit(maxConnections: number): void {
    this.#endpoint.maxConnections = Math.min(MAX_CONNECTION_ID, maxConnections + MAX_DROPPED_CONNECTIONS);
  }

  address(): AddressInfo | null {
    return this.#udp?.address() ?? null;
  }

  /** Whether listening, apart from its sockets, keeps the process alive. */
  setListeningRef(ref: boolean): void {
    if (this.#listening) this.#driver.retain(ref);
  }

  stopListening(): void {
    this.#listening = false;
    this.#endpoint.accept = false;
    ServerPort.#late.add(this);
    this.#driver.release();
  }

  send(bytes: Uint8Array, connection: Connection): boolean {
    const { sendAddress, sendPort, sendLocalAddress, remoteAddress, remotePort, datagramBytes } = connection;
    // What checks whether a peer has moved goes to where it may be now.
    const usual =
      sendPort === remotePort && sendAddress === remoteAddress && sendLocalAddress === connection.localAddress;
    const udp = (usual ? this.#peerOf(connection) : null) ?? this.#udp;
    return udp?.send(bytes, datagramBytes, sendPort, sendAddress, sendLocalAddress) ?? true;
  }

  sendTo(bytes: Uint8Array, remoteAddress: string, remotePort: number, localAddress: string): void {
    this.#udp?.send(bytes, bytes.length, remotePort, remoteAddress, localAddress);
  }

  forget(connection: Connection): void {
    this.#peers.get(connection)?.udp?.close();
  }

  /** The address that a connection's peer dialled, and the port. */
  localAddressOf({ localAddress }: Connection): AddressInfo | null {
    const bound = this.address();
    return bound === null || localAddress === "" ? bound : { ...bound, address: localAddress };
  }

  tierOf(connection: Connection): Tier {
    return this.#peers.get(connection)?.udp?.tier ?? this.#ownTier;
  }

  #peerOf(connection: Connection): DatagramSocket | null {
    const { remoteAddress: address, remotePort: port, localAddress } = connection;
    const known = this.#peers.get(connection);
    if (known?.address === address && known.port === port && known.localAddress === localAddress) {
      known.udp?.bePatient(patienceMs(connection.stats.minRttMs), this.#driver.clock);
      return known.udp;
    }
    // The peer has moved: the kernel would go on sending to where it was.
    if (known !== undefined) this.forget(connection);
    if (!connection.connected || this.#udp === null) return null;
    const isExtended = connection.edition === "extended";
    const { bytesReceived, bytesAcknowledged } = connection.stats;
    const isBulk = isExtended && bytesReceived + bytesAcknowledged >= BULK_BYTES;
    // Where processes share the port, a client's datagrams must come here whichever of them begin or end.
    if (!isBulk && !this.#sharesPort) return null;
    const udp = this.#udp.openPeer(address, port, localAddress);
    // A trace tells of each packet.
    if (isExtended) udp?.enableCoalescing(this.#options.trace === undefined);
    // The shared socket, which outlives it, keeps the process alive or not.
    udp?.unref();
    this.#peers.set(connection, { address, port, localAddress, udp });
    return udp;
  }

  setRef(ref: boolean): void {
    if (ref) this.#udp?.ref();
    else this.#udp?.unref();
  }

  close(): void {
    ServerPort.#late.delete(this);
    this.#udp?.close();
    this.#udp = null;
  }

  #bindTo(
    address: string,
    options: ListenOptions & { readonly port: number },
    done: (error: ConfundoError | null) => void,
  ): void {
    const { port, reusePort = false } = options;
    const ipv6Only = (options.ipv6Only ?? false) && address.includes(":");
    for (const late of ServerPort.#late) {
      if (late.address()?.port === port) late.#driver.closeIfOnlyFinWait();
    }
    const { tier } = this.#options;
    const handlers = {
      onDatagram: (bytes: Uint8Array, from: string, fromPort: number, segmentBytes: number, to: string) =>
        this.#driver.receive(bytes, from, fromPort, segmentBytes, to),
      onBatchEnd: () => this.#driver.endBatch(),
      onRefused: (address: string, port: number, bytes: number, limitBytes: number) =>
        this.#driver.limitDatagrams(address, port, bytes, limitBytes),
      // What one datagram met on its way is no matter: what is lost is sent again.
      onHint: () => {},
    };
    const opened = (udp: SharedDatagramSocket) => {
      this.#opened(udp);
      done(null);
    };
    const failed = (error: NodeJS.ErrnoException) => done(bindError(error, address, port, adviceFor(reusePort)));
    openSharedSoon({ address, port, ipv6Only, reusePort, tier, handlers }, opened, failed);
  }

  #opened(udp: SharedDatagramSocket): void {
    if (!this.#listening) {
      // Closed while it was bound.
      udp.close();
      return;
    }
    this.#udp = udp;
    this.#ownTier = udp.tier;
    this.#driver.updateRef();
  }
}

/** A port that is taken may be so by another worker of `node:cluster`. */
function adviceFor(reusePort: boolean): string {
  const { isWorker } = process.getBuiltinModule("node:cluster");
  if (!isWorker || reusePort) return "";
  return "Workers of node:cluster share a port with listen({ port, reusePort: true }).";
}

function verifying(extended: ExtendedOptions | null, options: ServerOptions): ExtendedOptions | null {
  const { acceptAtSyn = false, verifyAddresses = true, handshakesPerSecond, statelessResetKey } = options;
  if (extended === null) return null;
  const resettable = { ...extended, resetToken: newResetTokens(statelessResetKey) };
  // Who wants a socket at the SYN spends memory on it.
  if (!verifyAddresses || acceptAtSyn) return resettable;
  return { ...resettable, mac: newMac(), ...(handshakesPerSecond === undefined ? {} : { handshakesPerSecond }) };
}
