import { MAX_KNOWN_SERVERS } from "./datagram/limits.js";

/**
 * Servers that have spoken the extended edition with this process. A plain SYN|ACK in their name may be forged, so that a client
 * does not fall back to the classic edition at once.
 */
export class KnownServers {
  readonly #addresses = new Set<string>();

  has(address: string, port: number): boolean {
    return this.#addresses.has(key(address, port));
  }

  /** The one that was used least recently is forgotten where there are too many. */
  add(address: string, port: number): void {
    const server = key(address, port);
    this.#addresses.delete(server);
    this.#addresses.add(server);
    if (this.#addresses.size <= MAX_KNOWN_SERVERS) return;
    const [oldest] = this.#addresses;
    if (oldest !== undefined) this.#addresses.delete(oldest);
  }

  /** It speaks the classic edition by now. */
  delete(address: string, port: number): void {
    this.#addresses.delete(key(address, port));
  }
}

function key(address: string, port: number): string {
  return `${address} ${port}`;
}
