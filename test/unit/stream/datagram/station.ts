import { addon } from "../../../../src/native/addon.js";
import type { DatagramHandlers, Tier } from "../../../../src/stream/datagram/index.js";

/** What there is on this machine. */
export const TIERS: Tier[] =
  process.platform !== "linux"
    ? ["dgram"]
    : addon() === null
      ? ["dgram", "descriptor"]
      : ["dgram", "descriptor", "segmented"];

/** A test packet says its own length, so that packets merged into one buffer come apart again. */
const HEADER_BYTES = 8;

export interface Packet {
  readonly sequence: number;
  readonly length: number;
}

export interface Arrival extends Packet {
  readonly from: string;
}

export function packet(sequence: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(length, HEADER_BYTES)).fill(sequence & 0xff);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length);
  view.setUint32(4, sequence);
  return bytes;
}

/** Packets of one length back to back, the last of `lastLength`. */
export function burst(first: number, count: number, length: number, lastLength: number = length): Uint8Array {
  const parts = Array.from({ length: count }, (_, index) =>
    packet(first + index, index === count - 1 ? lastLength : length),
  );
  return new Uint8Array(Buffer.concat(parts));
}

/** Keeps what arrives, and lets a test wait for it. */
export class Station implements DatagramHandlers {
  readonly arrivals: Arrival[] = [];
  /** The length of each delivery, of one datagram or of several. */
  readonly deliveries: number[] = [];
  readonly hints: { code: string | undefined; from: string }[] = [];
  /** The address of this machine that each delivery came to. */
  readonly locals: string[] = [];
  batches = 0;
  onArrival: (bytes: Uint8Array, address: string, port: number) => void = () => {};
  #waiters: (() => void)[] = [];

  onDatagram(bytes: Uint8Array, address: string, port: number, _segmentBytes = 0, localAddress = ""): void {
    this.locals.push(localAddress);
    this.deliveries.push(bytes.length);
    for (let at = 0; at < bytes.length; ) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
      const length = view.getUint32(0);
      const sequence = view.getUint32(4);
      const intact =
        at + length <= bytes.length && bytes.subarray(at + 8, at + length).every((byte) => byte === (sequence & 0xff));
      if (!intact)
        throw new Error(`packet ${sequence} of ${length} bytes is damaged, ${bytes.length - at} bytes are left`);
      this.arrivals.push({ sequence, length, from: `${address} ${port}` });
      at += length;
    }
    this.onArrival(bytes, address, port);
  }

  onBatchEnd(): void {
    this.batches++;
    this.#wake();
  }

  readonly refusals: { from: string; bytes: number; limitBytes: number }[] = [];
  onRefused(address: string, port: number, bytes: number, limitBytes: number): void {
    this.refusals.push({ from: `${address} ${port}`, bytes, limitBytes });
  }

  onHint(error: NodeJS.ErrnoException, address?: string, port?: number): void {
    this.hints.push({ code: error.code, from: `${address} ${port}` });
    this.#wake();
  }

  /** Waits until there are so many arrivals. */
  async arrived(count: number): Promise<Arrival[]> {
    await this.until(() => this.arrivals.length >= count);
    return this.arrivals;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
