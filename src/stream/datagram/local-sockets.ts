import { networkInterfaces } from "node:os";
import { MOST_LOCAL_ADDRESSES } from "./limits.js";
import { PortableSocket } from "./portable.js";
import { SHARES_PORT } from "./reuse-port.js";
import type { DatagramAddress, DatagramHandlers } from "./types.js";
import { bindNow, createUdp, type UdpOptions } from "./udp.js";

/** Addresses are looked for at most this often. */
const SCAN_EVERY_MS = 500;

/** The addresses of this machine that a socket bound to `0.0.0.0` or `::` receives for, in the form in which it binds them. */
export function localAddresses(options: UdpOptions): string[] {
  const found = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map(({ address, family }) => {
      // An address of a link needs its interface's name.
      if (family === "IPv6") return /^fe[89ab]/i.test(address) ? `${address}%${name}` : address;
      return options.type === "udp6" ? `::ffff:${address}` : address;
    }),
  );
  const isIpv6Only = options.ipv6Only === true;
  const isWanted = (address: string): boolean =>
    options.type === "udp4" ? !address.includes(":") : !isIpv6Only || !address.startsWith("::ffff:");
  return [...new Set(found.filter(isWanted))].slice(0, MOST_LOCAL_ADDRESSES);
}

/**
 * One socket for each address of this machine beside a socket that is bound to all of them. `node:dgram` does not report
 * which address a datagram came to, and an answer must leave from that one (RFC 1122 section 4.1.3.5): the kernel hands a
 * datagram to the socket whose address is the more specific. The wildcard socket then receives only for addresses that have
 * come since, upon which it calls {@link follow}.
 */
export class LocalSockets {
  readonly #port: number;
  readonly #options: UdpOptions;
  readonly #handlers: DatagramHandlers;
  readonly #addresses: (options: UdpOptions) => string[];
  readonly #sockets = new Map<string, PortableSocket>();
  #scannedAt = Number.NEGATIVE_INFINITY;
  #ref = true;
  #closed = false;

  constructor(
    { port }: DatagramAddress,
    options: UdpOptions,
    handlers: DatagramHandlers,
    addresses: (options: UdpOptions) => string[] = localAddresses,
  ) {
    this.#port = port;
    this.#options = options;
    this.#handlers = handlers;
    this.#addresses = addresses;
  }

  /** The socket of an address, undefined where it has none. */
  at(localAddress: string): PortableSocket | undefined {
    return this.#sockets.get(localAddress);
  }

  /** Opens sockets for addresses that have none, and closes those whose address is no longer this machine's. */
  follow(now: number = performance.now()): void {
    if (this.#closed || now - this.#scannedAt < SCAN_EVERY_MS) return;
    this.#scannedAt = now;
    const present = this.#addresses(this.#options);
    for (const [address, socket] of this.#sockets) {
      if (present.includes(address)) continue;
      this.#sockets.delete(address);
      socket.close();
    }
    for (const address of present) {
      if (!this.#sockets.has(address)) this.#open(address);
    }
  }

  setRef(ref: boolean): void {
    this.#ref = ref;
    for (const socket of this.#sockets.values()) {
      if (ref) socket.ref();
      else socket.unref();
    }
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  /** Where an address cannot be bound, as one that is still being checked (RFC 4862), the wildcard socket serves it. */
  #open(address: string): void {
    const udp = createUdp({ ...this.#options, ...SHARES_PORT });
    try {
      bindNow(udp, address, this.#port);
    } catch {
      return;
    }
    const socket = new PortableSocket(udp, this.#handlers, null, address);
    if (!this.#ref) socket.unref();
    this.#sockets.set(address, socket);
  }
}
