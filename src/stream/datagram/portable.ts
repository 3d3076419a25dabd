import type { RemoteInfo, Socket } from "node:dgram";
import type { Clock } from "../clock.js";
import { REPORTS_SEND_QUEUE } from "./features.js";
import { QUEUE_BYTES } from "./limits.js";
import { maxDatagramBytes } from "./mtu.js";
import type { DatagramAddress, DatagramHandlers, DatagramSocket, Tier } from "./types.js";
import { addressOf, enlargeBuffers, localAddressTowards } from "./udp.js";

/** After so many wake-ups with one datagram each, the next one is taken for one of these. */
const LONE_WAKEUPS = 8;
/** How many are taken so before it is looked at again. */
const UNCHECKED_WAKEUPS = 15;

/** A bound UDP socket, and all of the tier `dgram`. The faster tiers build on it. */
export class PortableSocket implements DatagramSocket {
  droppedBytes = 0;
  /** Called when the socket is closed. */
  onClosed: () => void = () => {};
  protected udp: Socket;
  protected readonly handlers: DatagramHandlers;
  /** The one peer, if the socket is connected. */
  protected readonly remote: { readonly address: string; readonly port: number } | null;
  /** Reported with what arrives: the address of this machine that it came to, empty where that is not known. */
  protected readonly localAddress: string;
  protected closed = false;
  protected keepsProcessAlive = true;
  /** Whether `onBatchEnd` is due in this turn of the event loop. */
  protected batchEnds = false;
  readonly #address: DatagramAddress;
  /** Datagrams of this wake-up. */
  #arrivals = 0;
  #loneWakeups = 0;
  #unchecked = 0;
  /** What waits to be sent, where `node:dgram` does not report it. */
  #queuedBytes = 0;

  constructor(
    udp: Socket,
    handlers: DatagramHandlers,
    remote: { readonly address: string; readonly port: number } | null,
    localAddress = "",
  ) {
    this.udp = udp;
    this.localAddress = localAddress;
    this.handlers = handlers;
    this.remote = remote;
    this.#address = addressOf(udp);
    enlargeBuffers(udp);
    this.listen(udp);
  }

  get tier(): Tier {
    return "dgram";
  }

  address(): DatagramAddress {
    return this.#address;
  }

  maxDatagramBytes(remoteAddress: string): number {
    const local = this.remote === null ? localAddressTowards(remoteAddress) : this.#address.address;
    return maxDatagramBytes(local ?? "", remoteAddress);
  }

  send(bytes: Uint8Array, segmentBytes: number, remotePort: number, remoteAddress: string): boolean {
    if (this.closed) return true;
    if (!REPORTS_SEND_QUEUE) return this.#sendCopy(bytes, segmentBytes, remotePort, remoteAddress);
    if (this.udp.getSendQueueSize() + bytes.length > QUEUE_BYTES) {
      this.droppedBytes += bytes.length;
      return true;
    }
    for (let at = 0; at < bytes.length; at += segmentBytes) {
      const length = Math.min(segmentBytes, bytes.length - at);
      // A callback costs a tenth of a datagram. What is wrong with one of a burst is wrong with its first.
      const sent = at === 0 ? this.#sent : undefined;
      if (this.remote !== null) this.udp.send(bytes, at, length, sent);
      else this.udp.send(bytes, at, length, remotePort, remoteAddress, sent);
    }
    return this.udp.getSendQueueCount() === 0;
  }

  /** For a runtime that does not tell when the memory is free again. */
  #sendCopy(bytes: Uint8Array, segmentBytes: number, remotePort: number, remoteAddress: string): true {
    if (this.#queuedBytes + bytes.length > QUEUE_BYTES) {
      this.droppedBytes += bytes.length;
      return true;
    }
    const copy = bytes.slice();
    for (let at = 0; at < copy.length; at += segmentBytes) {
      const length = Math.min(segmentBytes, copy.length - at);
      this.#queuedBytes += length;
      const sent = (error: NodeJS.ErrnoException | null) => {
        this.#queuedBytes -= length;
        this.#sent(error ?? null);
      };
      if (this.remote !== null) this.udp.send(copy, at, length, sent);
      else this.udp.send(copy, at, length, remotePort, remoteAddress, sent);
    }
    return true;
  }

  enableCoalescing(_join: boolean): boolean {
    return false;
  }

  bePatient(_patienceMs: number, _clock: Clock): void {}

  ref(): void {
    this.keepsProcessAlive = true;
    if (!this.closed) this.udp.ref();
  }

  unref(): void {
    this.keepsProcessAlive = false;
    if (!this.closed) this.udp.unref();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.closeDescriptor();
    this.onClosed();
  }

  protected closeDescriptor(): void {
    this.udp.close();
  }

  protected listen(udp: Socket): void {
    udp.on("error", (error) => this.hint(error));
    udp.on("message", (bytes, from) => this.receive(bytes, from));
  }

  protected receive(bytes: Uint8Array, from: RemoteInfo): void {
    this.handlers.onDatagram(bytes, from.address, from.port, 0, this.localAddress);
    this.#arrivals++;
    if (this.batchEnds) return;
    if (this.#loneWakeups >= LONE_WAKEUPS && this.#unchecked < UNCHECKED_WAKEUPS) {
      // To and fro: waiting for company that never comes would cost more than all else here.
      this.#unchecked++;
      this.#endBatch();
      return;
    }
    // Each datagram of a wake-up has its own event. Immediates come after the last.
    this.batchEnds = true;
    this.#arrivals = 1;
    setImmediate(this.#afterWakeup);
  }

  readonly #afterWakeup = (): void => {
    this.batchEnds = false;
    this.#unchecked = 0;
    this.#loneWakeups = this.#arrivals === 1 ? this.#loneWakeups + 1 : 0;
    this.#endBatch();
  };

  #endBatch(): void {
    if (!this.closed) this.handlers.onBatchEnd();
  }

  protected hint(error: NodeJS.ErrnoException): void {
    if (!this.closed) this.handlers.onHint(error, this.remote?.address, this.remote?.port);
  }

  readonly #sent = (error: NodeJS.ErrnoException | null): void => {
    if (error !== null) this.hint(error);
  };
}
