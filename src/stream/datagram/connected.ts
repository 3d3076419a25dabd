import type { RemoteInfo, Socket } from "node:dgram";
import { writeSync } from "node:fs";
import { type Descriptor, findDescriptor } from "./descriptor.js";
import { sharesPortsAtOnce } from "./features.js";
import { MOST_DESCRIPTORS, QUEUE_BYTES } from "./limits.js";
import { PortableSocket } from "./portable.js";
import { nextDatagram } from "./slab.js";
import type { DatagramHandlers, Tier } from "./types.js";
import { addressOf } from "./udp.js";

/** Reads of one wake-up, so that timers and other sockets get their turn. */
const BATCH_READS = 64;
/** After so many drains that found nothing no more are tried: finding nothing costs as much as a datagram. */
const VAIN_DRAINS = 4;
/** No waiting datagram takes less of the kernel's memory than this, which is less than the struct that describes it. */
const SMALLEST_WAITING_BYTES = 128;

/** Sockets of this tier that are open. */
let openCount = 0;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly segmentBytes: number;
}

/** A connected socket that is written and drained through its descriptor: the tier `descriptor`. */
export class ConnectedSocket extends PortableSocket {
  readonly #fd: number;
  readonly #address: string;
  readonly #port: number;
  /** Datagrams yet to be read that may be from anybody: see {@link openConnectedSocket}. */
  #strays: number;
  #vainDrains = 0;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;

  constructor(
    udp: Socket,
    handlers: DatagramHandlers,
    remote: { readonly address: string; readonly port: number },
    descriptor: Descriptor,
    localAddress = "",
  ) {
    super(udp, handlers, remote, localAddress);
    openCount++;
    this.#fd = descriptor.fd;
    this.#address = remote.address;
    this.#port = remote.port;
    this.#strays = Math.ceil(descriptor.waitingBytes / SMALLEST_WAITING_BYTES);
  }

  override get tier(): Tier {
    return "descriptor";
  }

  override send(bytes: Uint8Array, segmentBytes: number): boolean {
    if (this.closed) return true;
    let at = 0;
    if (this.#waiting.length === 0) {
      while (at < bytes.length) {
        const length = Math.min(segmentBytes, bytes.length - at);
        if (!this.#write(bytes, at, length)) break;
        at += length;
      }
    }
    if (at >= bytes.length) return true;
    this.#wait(at === 0 ? bytes : bytes.subarray(at), segmentBytes);
    return false;
  }

  protected override closeDescriptor(): void {
    openCount--;
    this.#waiting = [];
    super.closeDescriptor();
  }

  protected override receive(bytes: Uint8Array, from: RemoteInfo): void {
    if (this.#strays > 0) {
      this.#strays--;
      super.receive(bytes, from);
      return;
    }
    if (this.#vainDrains >= VAIN_DRAINS && !this.batchEnds) {
      // Datagrams come one by one. If one more follows in this wake-up, the rest is drained.
      super.receive(bytes, from);
      return;
    }
    this.handlers.onDatagram(bytes, this.#address, this.#port, 0, this.localAddress);
    this.#vainDrains = this.#drain() > 0 ? 0 : this.#vainDrains + 1;
    if (!this.closed) this.handlers.onBatchEnd();
  }

  #drain(): number {
    let reads = 0;
    while (reads < BATCH_READS && !this.closed) {
      const datagram = this.#read();
      if (datagram === null) break;
      reads++;
      this.handlers.onDatagram(datagram, this.#address, this.#port, 0, this.localAddress);
    }
    return reads;
  }

  #read(): Uint8Array | null {
    try {
      return nextDatagram(this.#fd);
    } catch (error) {
      // EAGAIN is the end. What else there may be, such as ECONNREFUSED, is told once: the kernel forgets it.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") this.hint(error as NodeJS.ErrnoException);
      return null;
    }
  }

  /** False when the kernel has no room, and otherwise done with: sent or lost. */
  #write(bytes: Uint8Array, at: number, length: number): boolean {
    for (let attempt = 1; ; attempt++) {
      try {
        writeSync(this.#fd, bytes, at, length);
        return true;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EAGAIN") return false;
        this.hint(error as NodeJS.ErrnoException);
        if (this.closed) return true;
        // What ICMP says of an earlier datagram is told once, and instead of sending this one.
        if (attempt > 1 || code === "EMSGSIZE") {
          this.droppedBytes += length;
          return true;
        }
      }
    }
  }

  /**
   * No room in the kernel is no loss: the rest waits. node:dgram sends the first of it, as it can wait until the socket
   * is writable, and tells when that is.
   */
  #wait(bytes: Uint8Array, segmentBytes: number): void {
    if (this.#waitingBytes + bytes.length > QUEUE_BYTES) {
      this.droppedBytes += bytes.length;
      return;
    }
    this.#waitingBytes += bytes.length;
    this.#waiting.push({ bytes, segmentBytes });
    if (this.#waiting.length === 1) this.#sendWhenWritable();
  }

  #sendWhenWritable(): void {
    const { bytes, segmentBytes } = this.#waiting[0] as Waiting;
    const length = Math.min(segmentBytes, bytes.length);
    this.udp.send(bytes, 0, length, (error) => {
      if (this.closed) return;
      if (error !== null) this.hint(error);
      this.#flush(length);
    });
  }

  #flush(sent: number): void {
    if (this.closed) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    let skip = sent;
    for (const { bytes, segmentBytes } of waiting) {
      this.send(skip === 0 ? bytes : bytes.subarray(skip), segmentBytes);
      skip = 0;
    }
  }
}

/**
 * The fastest socket, up to `tier`, over a connected UDP socket.
 *
 * Between bind(2) and connect(2) datagrams of anybody may have come in. Those read through node:dgram have their senders'
 * addresses, those read through the descriptor have none. So as many as can be waiting are read through node:dgram.
 */
export function openConnectedSocket(
  udp: Socket,
  handlers: DatagramHandlers,
  remote: { readonly address: string; readonly port: number },
  tier: Tier | "auto" | undefined,
  localAddress = "",
): PortableSocket {
  // Other runtimes than Node may number descriptors otherwise than the kernel does.
  const searches = tier !== "dgram" && openCount < MOST_DESCRIPTORS && sharesPortsAtOnce();
  const descriptor = searches ? findDescriptor(addressOf(udp), remote) : null;
  if (descriptor === null) return new PortableSocket(udp, handlers, remote, localAddress);
  return new ConnectedSocket(udp, handlers, remote, descriptor, localAddress);
}
