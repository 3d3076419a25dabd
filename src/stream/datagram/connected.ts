import type { RemoteInfo, Socket } from "node:dgram";
import { closeSync, readSync, writeSync } from "node:fs";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../clock.js";
import { type Descriptor, findDescriptor } from "./descriptor.js";
import { Moderation } from "./moderation.js";
import { neverFragment, SOL_UDP, type SocketOptions, socketOptions, UDP_GRO, UDP_SEGMENT } from "./options.js";
import { PortableSocket, QUEUE_BYTES } from "./portable.js";
import { nextDatagram } from "./slab.js";
import type { DatagramHandlers, Tier } from "./types.js";
import { addressOf, adopt } from "./udp.js";

/** UDP_MAX_SEGMENTS of Linux before 6.10, which has 128. */
const BURST_SEGMENTS = 64;
/** A burst is one IP packet until it is split: 16 bits of length, less the longer headers, those of IPv6. */
const BURST_BYTES = 65_535 - 48;
/** Reads of one wake-up, so that timers and other sockets get their turn. */
const BATCH_READS = 64;
/** After so many drains that found nothing no more are tried, where finding nothing costs as much as a datagram. */
const VAIN_DRAINS = 4;
/** A look reads on while there is so much; then others get their turn. */
const BATCHES_PER_LOOK = 4;
/** How soon what the kernel had no room for is tried again where nobody tells. */
const RETRY_MS = 1;
/** No waiting datagram takes less of the kernel's memory than this, which is less than the struct that describes it. */
const SMALLEST_WAITING_BYTES = 128;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly segmentBytes: number;
}

/** A connected socket that is written and drained through its descriptor: the tiers `descriptor` and `segmented`. */
export class ConnectedSocket extends PortableSocket {
  #fd: number;
  readonly #options: SocketOptions | null;
  readonly #address: string;
  readonly #port: number;
  #segments: boolean;
  /** The segment size that the kernel was last told. */
  #kernelSegmentBytes = 0;
  /** Datagrams yet to be read that may be from anybody: see {@link openConnectedSocket}. */
  #strays: number;
  #vainDrains = 0;
  readonly #moderation = new Moderation();
  #patienceMs = 0;
  #clock: Clock = SYSTEM_CLOCK;
  /** Set while datagrams are looked for: the descriptor is ours alone then, and the event loop does not know it. */
  #looking: Timer | null = null;
  /** Whether `udp` is the socket that was connected, and not one made of its descriptor later. */
  #udpIsConnected = true;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;

  constructor(
    udp: Socket,
    handlers: DatagramHandlers,
    remote: { readonly address: string; readonly port: number },
    descriptor: Descriptor,
    options: SocketOptions | null,
  ) {
    super(udp, handlers, remote);
    this.#fd = descriptor.fd;
    this.#options = options;
    this.#address = remote.address;
    this.#port = remote.port;
    this.#strays = Math.ceil(descriptor.waitingBytes / SMALLEST_WAITING_BYTES);
    this.#segments = options?.set(descriptor.fd, SOL_UDP, UDP_SEGMENT, 0) ?? false;
    if (options !== null) neverFragment(options, descriptor.fd, this.address().family);
  }

  override get tier(): Tier {
    return this.#segments ? "segmented" : "descriptor";
  }

  override send(bytes: Uint8Array, segmentBytes: number): boolean {
    if (this.closed) return true;
    let at = 0;
    if (this.#waiting.length === 0) {
      while (at < bytes.length) {
        const taken = this.#write(bytes, at, this.#burstBytes(bytes.length - at, segmentBytes), segmentBytes);
        if (taken < 0) break;
        at += taken;
      }
    }
    if (at >= bytes.length) return true;
    this.#wait(at === 0 ? bytes : bytes.subarray(at), segmentBytes);
    return false;
  }

  override enableCoalescing(): boolean {
    return !this.closed && this.#options !== null && this.#options.set(this.#fd, SOL_UDP, UDP_GRO, 1);
  }

  override bePatient(patienceMs: number, clock: Clock): void {
    this.#patienceMs = patienceMs;
    this.#clock = clock;
  }

  override ref(): void {
    super.ref();
    this.#looking?.ref();
  }

  override unref(): void {
    super.unref();
    this.#looking?.unref();
  }

  protected override closeDescriptor(): void {
    this.#waiting = [];
    if (this.#looking === null) {
      super.closeDescriptor();
      return;
    }
    this.#looking.close();
    closeSync(this.#fd);
  }

  protected override receive(bytes: Uint8Array, from: RemoteInfo): void {
    if (this.#strays > 0) {
      this.#strays--;
      super.receive(bytes, from);
      return;
    }
    if (this.#vainDrains >= VAIN_DRAINS && !this.batchEnds && this.#options?.receive == null) {
      // Datagrams come one by one. If one more follows in this wake-up, the rest is drained.
      super.receive(bytes, from);
      this.#moderate();
      return;
    }
    this.handlers.onDatagram(bytes, this.#address, this.#port);
    this.#vainDrains = this.#drain() > 0 ? 0 : this.#vainDrains + 1;
    if (!this.closed) this.handlers.onBatchEnd();
    this.#moderate();
  }

  /** The stream is dense: the event loop forgets the socket, and a timer looks for datagrams. */
  #moderate(): void {
    const patienceMs = this.#patienceMs;
    if (patienceMs <= 0 || this.#options === null || this.closed || this.#looking !== null) return;
    if (!this.#moderation.onWake(patienceMs, this.#clock.now())) return;
    const fd = this.#options.duplicate(this.#fd);
    if (fd < 0) return;
    this.udp.close();
    this.#fd = fd;
    this.#looking = this.#clock.setTimer(() => this.#look(), patienceMs);
    if (!this.keepsProcessAlive) this.#looking.unref();
  }

  #look(): void {
    let found = 0;
    for (let batch = 1; batch <= BATCHES_PER_LOOK; batch++) {
      const read = this.#drain();
      found += read;
      if (read > 0 && !this.closed) this.handlers.onBatchEnd();
      if (read < BATCH_READS) break;
    }
    if (this.closed) return;
    if (this.#moderation.onLook(found)) this.#looking?.refresh();
    else this.#stopLooking();
  }

  /** The event loop gets the socket back. */
  #stopLooking(): void {
    let udp: Socket;
    try {
      udp = adopt(this.#fd, this.address().family);
    } catch (error) {
      // Out of memory, for the moment: looking goes on.
      this.hint(error as NodeJS.ErrnoException);
      this.#looking?.refresh();
      return;
    }
    this.#looking?.close();
    this.#looking = null;
    this.udp = udp;
    this.#udpIsConnected = false;
    if (!this.keepsProcessAlive) udp.unref();
    this.listen(udp);
  }

  #drain(): number {
    let reads = 0;
    while (reads < BATCH_READS && !this.closed) {
      const datagram = this.#read();
      if (datagram === null) break;
      reads++;
      this.handlers.onDatagram(datagram, this.#address, this.#port);
    }
    return reads;
  }

  #read(): Uint8Array | null {
    try {
      return nextDatagram(this.#fd, this.#options?.receive ?? readWithNode);
    } catch (error) {
      // EAGAIN is the end. What else there may be, such as ECONNREFUSED, is told once: the kernel forgets it.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") this.hint(error as NodeJS.ErrnoException);
      return null;
    }
  }

  /** How much of `length` bytes one system call takes. */
  #burstBytes(length: number, segmentBytes: number): number {
    if (length <= segmentBytes) return length;
    if (!this.#segments) return segmentBytes;
    const segments = Math.min(BURST_SEGMENTS, Math.floor(BURST_BYTES / segmentBytes)) || 1;
    return Math.min(length, segments * segmentBytes);
  }

  /** @returns the bytes that are done with, sent or lost; 0 to try again with less; below 0 when the kernel has no room */
  #write(bytes: Uint8Array, at: number, length: number, segmentBytes: number): number {
    this.#tellSegmentBytes(length, segmentBytes);
    for (let attempt = 1; ; attempt++) {
      try {
        writeSync(this.#fd, bytes, at, length);
        return length;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EAGAIN") return -1;
        if (this.#kernelSegmentBytes > 0 && (code === "EIO" || code === "EINVAL") && this.#fits(segmentBytes)) {
          this.#stopSegmenting();
          return 0;
        }
        this.hint(error as NodeJS.ErrnoException);
        if (this.closed) return length;
        // What ICMP says of an earlier datagram is told once, and instead of sending this one.
        if (attempt > 1 || code === "EMSGSIZE") {
          this.droppedBytes += length;
          return length;
        }
      }
    }
  }

  /** Older kernels say EINVAL too of a segment that is larger than the interface's MTU. */
  #fits(segmentBytes: number): boolean {
    return segmentBytes <= this.maxDatagramBytes(this.#address);
  }

  /** Some devices cannot be segmented for: those that cannot checksum, before Linux 6.2, and IPsec. */
  #stopSegmenting(): void {
    this.#options?.set(this.#fd, SOL_UDP, UDP_SEGMENT, 0);
    this.#kernelSegmentBytes = 0;
    this.#segments = false;
  }

  /** One call only when the size changes. A single datagram may be shorter than the size told, not longer. */
  #tellSegmentBytes(length: number, segmentBytes: number): void {
    if (!this.#segments) return;
    const wanted = length > segmentBytes ? segmentBytes : 0;
    const told = this.#kernelSegmentBytes;
    if (wanted === told || (wanted === 0 && length <= told)) return;
    this.#options?.set(this.#fd, SOL_UDP, UDP_SEGMENT, wanted);
    this.#kernelSegmentBytes = wanted;
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
    if (this.#looking !== null || !this.#udpIsConnected) {
      this.#clock.setTimer(() => this.#flush(0), RETRY_MS);
      return;
    }
    const { bytes, segmentBytes } = this.#waiting[0] as Waiting;
    const length = this.#burstBytes(bytes.length, segmentBytes);
    this.#tellSegmentBytes(length, segmentBytes);
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

function readWithNode(fd: number, into: Uint8Array, bytes: number): number {
  return readSync(fd, into, 0, bytes, null);
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
  tier: Tier,
): PortableSocket {
  const descriptor = tier === "dgram" ? null : findDescriptor(addressOf(udp), remote);
  if (descriptor === null) return new PortableSocket(udp, handlers, remote);
  return new ConnectedSocket(udp, handlers, remote, descriptor, tier === "segmented" ? socketOptions() : null);
}
