import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import {
  type Addon,
  IS_APART,
  LENGTH,
  NEW_ADDRESSES,
  NEW_LOCAL,
  NEW_SENDER,
  PORT,
  type Result,
  SEGMENT_BYTES,
  SLOT_BYTES,
  SLOTS_AT,
  TABLE_FIELDS,
  type Udp,
} from "../../native/addon.js";
import { MIN_DATAGRAM_BYTES } from "../../protocol/index.js";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../clock.js";
import { QUEUE_BYTES } from "./limits.js";
import { Moderation } from "./moderation.js";
import { askForMtusAnew, datagramBytes, maxDatagramBytes } from "./mtu.js";
import type { DatagramAddress, DatagramHandlers, DatagramSocket, Tier } from "./types.js";
import { ANY_PORT, localAddressTowards } from "./udp.js";

const { EAGAIN, EINVAL, EIO, EMSGSIZE } = constants.errno;

/** A look reads on while there is so much; then timers and other sockets get their turn. */
const READS_PER_LOOK = 8;

/** An address with a port. */
type End = Pick<DatagramAddress, "address" | "port">;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly segmentBytes: number;
  readonly remotePort: number;
  readonly remoteAddress: string;
  readonly localAddress: string;
}

/** What was read last, by whichever socket: the addon reads into one place. */
class Room {
  readonly #native: Addon;
  readonly #buffer: ArrayBuffer;
  readonly #table: Int32Array;
  /** Of each slot, made again only where the length is another. */
  readonly #views: Uint8Array[] = [];

  constructor(native: Addon) {
    this.#native = native;
    this.#buffer = native.room();
    this.#table = new Int32Array(this.#buffer, 0, SLOTS_AT / Int32Array.BYTES_PER_ELEMENT);
  }

  field(slot: number, field: number): number {
    return this.#table[slot * TABLE_FIELDS + field] as number;
  }

  /** Once for each slot: what is large is handed over. */
  bytes(slot: number): Uint8Array {
    const length = this.field(slot, LENGTH);
    const own = this.field(slot, IS_APART) === 0 ? undefined : this.#native.take(slot);
    if (own !== undefined) return own.subarray(0, length);
    const known = this.#views[slot];
    if (known?.length === length) return known;
    const view = new Uint8Array(this.#buffer, SLOTS_AT + slot * SLOT_BYTES, length);
    this.#views[slot] = view;
    return view;
  }
}

let room: Room | null = null;

/** A socket of our addon: all of the tier `segmented`. Bound, and connected where it has a peer. */
export class NativeSocket implements DatagramSocket {
  droppedBytes = 0;
  /** Called when the socket is closed. */
  onClosed: () => void = () => {};
  protected readonly udp: Udp;
  protected readonly handlers: DatagramHandlers;
  protected closed = false;
  readonly #native: Addon;
  readonly #room: Room;
  readonly #address: DatagramAddress;
  readonly #remote: End | null;
  #segments: boolean;
  #coalesces = false;
  /** Who sent the last datagram, and the address of this machine that it came to; empty where there is only one. */
  #sender: string;
  #local: string;
  #keepsProcessAlive = true;
  readonly #moderation = new Moderation();
  #patienceMs = 0;
  #clock: Clock = SYSTEM_CLOCK;
  /** Set while datagrams are looked for instead of waited for. */
  #looking: Timer | null = null;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;

  constructor(native: Addon, udp: Udp, handlers: DatagramHandlers, remote: End | null, localAddress = "") {
    room ??= new Room(native);
    this.#native = native;
    this.#room = room;
    this.udp = udp;
    this.handlers = handlers;
    this.#remote = remote;
    this.#sender = remote?.address ?? "";
    this.#local = localAddress;
    this.#segments = udp.segments(true);
    this.#address = addressOf(udp);
    check(udp, "poll", this.#address, udp.start(this.#onEvent));
  }

  get tier(): Tier {
    return this.#segments ? "segmented" : "descriptor";
  }

  address(): DatagramAddress {
    return this.#address;
  }

  maxDatagramBytes(remoteAddress: string): number {
    const local = this.#remote === null ? this.#localTowards(remoteAddress) : this.#address.address;
    return maxDatagramBytes(local ?? "", remoteAddress);
  }

  send(bytes: Uint8Array, segmentBytes: number, remotePort: number, remoteAddress: string, localAddress = ""): boolean {
    if (this.closed) return true;
    const waiting = { bytes, segmentBytes, remotePort, remoteAddress, localAddress };
    const taken = this.#waiting.length > 0 ? 0 : this.#write(waiting);
    if (taken >= bytes.length) return true;
    this.#wait(taken === 0 ? waiting : { ...waiting, bytes: bytes.subarray(taken) });
    return false;
  }

  enableCoalescing(join: boolean): boolean {
    if (this.closed) return false;
    this.#coalesces = true;
    this.udp.gather(join);
    return true;
  }

  bePatient(patienceMs: number, clock: Clock): void {
    this.#patienceMs = patienceMs;
    this.#clock = clock;
  }

  ref(): void {
    this.#setRef(true);
  }

  unref(): void {
    this.#setRef(false);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#waiting = [];
    this.#looking?.close();
    this.udp.close();
    this.onClosed();
  }

  #localTowards(remoteAddress: string): string | null {
    return localAddressTowards(remoteAddress, performance.now(), (to) => askForRoute(this.#native, to));
  }

  #setRef(ref: boolean): void {
    if (this.closed || ref === this.#keepsProcessAlive) return;
    this.#keepsProcessAlive = ref;
    this.udp.setRef(ref);
    if (ref) this.#looking?.ref();
    else this.#looking?.unref();
  }

  // ---- receiving ---------------------------------------------------------------------------------------------------

  readonly #onEvent = (from: number, to: number, read: Result, writable: boolean): void => {
    if (writable) this.#flush();
    this.#take(from, to, read);
    if (to > 0 && to === read) this.#moderate();
  };

  /** Delivers slots of those that were read; below 0 the kernel had something else to tell. */
  #take(from: number, to: number, read: Result): void {
    if (read < 0) this.#hint("recvmmsg", read, this.#remote);
    for (let slot = from; slot < to && !this.closed; slot++) this.#deliver(slot);
    if (to > 0 && to === read && !this.closed) this.handlers.onBatchEnd();
  }

  #deliver(slot: number): void {
    const news = this.#room.field(slot, NEW_ADDRESSES);
    if ((news & NEW_SENDER) !== 0) this.#sender = this.udp.sender(slot);
    if ((news & NEW_LOCAL) !== 0) this.#local = this.udp.local(slot);
    const port = this.#room.field(slot, PORT);
    const bytes = this.#room.bytes(slot);
    const segmentBytes = this.#room.field(slot, SEGMENT_BYTES);
    if (this.#coalesces) {
      // An empty slot had what was joined to the one before.
      if (bytes.length > 0) this.handlers.onDatagram(bytes, this.#sender, port, segmentBytes, this.#local);
      return;
    }
    if (segmentBytes === 0 || bytes.length <= segmentBytes) {
      this.handlers.onDatagram(bytes, this.#sender, port, 0, this.#local);
      return;
    }
    for (let at = 0; at < bytes.length && !this.closed; at += segmentBytes) {
      this.handlers.onDatagram(bytes.subarray(at, at + segmentBytes), this.#sender, port, 0, this.#local);
    }
  }

  /** The stream is dense: the event loop forgets the socket, and a timer looks for datagrams. */
  #moderate(): void {
    const patienceMs = this.#patienceMs;
    if (patienceMs <= 0 || this.closed || this.#looking !== null) return;
    if (!this.#moderation.onWake(patienceMs, this.#clock.now())) return;
    this.#looking = this.#clock.setTimer(() => this.#look(), patienceMs);
    if (!this.#keepsProcessAlive) this.#looking.unref();
    this.#waitForEvents();
  }

  #look(): void {
    let found = 0;
    for (let reads = 1; reads <= READS_PER_LOOK && !this.closed; reads++) {
      const read = this.udp.read();
      this.#take(0, read, read);
      if (read <= 0) break;
      found += read;
    }
    if (this.closed) return;
    if (this.#moderation.onLook(found)) {
      this.#looking?.refresh();
      return;
    }
    this.#looking?.close();
    this.#looking = null;
    this.#waitForEvents();
  }

  #waitForEvents(): void {
    this.udp.waitFor(this.#looking === null, this.#waiting.length > 0);
  }

  // ---- sending -----------------------------------------------------------------------------------------------------

  /** Returns how many bytes are done with, sent or lost: all of them, unless the kernel has no room. */
  #write({ bytes, segmentBytes, remotePort, remoteAddress, localAddress }: Waiting): number {
    let at = 0;
    let refusals = 0;
    while (at < bytes.length) {
      const rest = at === 0 ? bytes : bytes.subarray(at);
      const taken =
        this.#remote === null
          ? this.udp.sendTo(rest, segmentBytes, remoteAddress, remotePort, localAddress)
          : this.udp.send(rest, segmentBytes);
      if (taken === -EAGAIN) return at;
      if (taken >= 0) {
        at += taken;
        continue;
      }
      if (this.#segments && this.#cannotSegment(taken, segmentBytes, remoteAddress)) {
        // Some devices cannot be segmented for: those that cannot checksum, before Linux 6.2, and IPsec.
        this.#segments = this.udp.segments(false);
        continue;
      }
      const peer = this.#remote ?? { address: remoteAddress, port: remotePort };
      this.#hint("sendmsg", taken, peer);
      if (this.closed) break;
      const length = Math.min(segmentBytes, rest.length);
      const refused = (taken === -EMSGSIZE || taken === -EINVAL) && this.#refuses(length, peer, taken === -EMSGSIZE);
      // What ICMP says of an earlier datagram is told once, and instead of sending this one.
      if (refusals++ === 0 && !refused) continue;
      this.droppedBytes += rest.length;
      break;
    }
    return bytes.length;
  }

  /**
   * Whether datagrams of this length are longer than the interface takes; reports that. Where they are not, EMSGSIZE is what
   * ICMP said of the path: the route's MTU is as long as that allows.
   */
  #refuses(length: number, { address, port }: End, isAboutSize: boolean): boolean {
    askForMtusAnew();
    const limit = this.maxDatagramBytes(address);
    if (length > limit) {
      this.handlers.onRefused(address, port, length, limit);
      return true;
    }
    const routeMtu = isAboutSize && this.#remote !== null ? this.udp.mtu() : 0;
    const carried = datagramBytes(routeMtu, address);
    // Anybody may have sent that: it is no reason to give a path up.
    if (carried >= MIN_DATAGRAM_BYTES && carried < limit) this.handlers.onRefused(address, port, carried + 1, carried);
    return false;
  }

  /** Older kernels say EINVAL too of a segment that is larger than the interface's MTU. */
  #cannotSegment(failed: Result, segmentBytes: number, remoteAddress: string): boolean {
    if (failed !== -EIO && failed !== -EINVAL) return false;
    askForMtusAnew();
    return segmentBytes <= this.maxDatagramBytes(this.#remote?.address ?? remoteAddress);
  }

  /** No room in the kernel is no loss: the rest waits. */
  #wait(waiting: Waiting): void {
    if (this.#waitingBytes + waiting.bytes.length > QUEUE_BYTES) {
      this.droppedBytes += waiting.bytes.length;
      return;
    }
    this.#waitingBytes += waiting.bytes.length;
    if (this.#waiting.push(waiting) === 1) this.#waitForEvents();
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const { bytes, segmentBytes, remotePort, remoteAddress, localAddress } of waiting) {
      this.send(bytes, segmentBytes, remotePort, remoteAddress, localAddress);
    }
  }

  #hint(syscall: string, failed: Result, remote: End | null): void {
    if (!this.closed) this.handlers.onHint(kernelError(syscall, failed), remote?.address, remote?.port);
  }
}

/**
 * A socket that is connected to a peer. Between bind(2) and connect(2) datagrams of anybody may come in: they are delivered
 * with their senders' addresses. `flags` are the addon's. `localAddress` is reported with what arrives.
 * @throws the error of bind(2) or connect(2)
 */
export function connectNative(
  native: Addon,
  local: End,
  remote: End,
  flags: number,
  handlers: DatagramHandlers,
  localAddress = "",
): NativeSocket {
  const udp = bindNative(native, local, flags);
  check(udp, "connect", remote, udp.connect(remote.address, remote.port));
  return new NativeSocket(native, udp, handlers, remote, localAddress);
}

/** @throws the error of bind(2) */
export function bindNative(native: Addon, local: End, flags: number): Udp {
  const udp = new native.Udp();
  check(udp, "bind", local, udp.bind(local.address, local.port, flags));
  return udp;
}

/** As node:dgram's sockets ask, in fewer steps. */
export function askForRoute(native: Addon, remoteAddress: string): string | null {
  const udp = new native.Udp();
  const bound = udp.bind(remoteAddress.includes(":") ? "::" : "0.0.0.0", 0, 0);
  const local = bound < 0 || udp.connect(remoteAddress, ANY_PORT) < 0 ? bound : udp.address();
  udp.close();
  return typeof local === "number" ? null : local[0];
}

/** Throws what the kernel said, with the socket closed. */
function check(udp: Udp, syscall: string, { address, port }: End, result: Result): void {
  if (result >= 0) return;
  udp.close();
  throw Object.assign(kernelError(syscall, result, ` ${address}:${port}`), { address, port });
}

function kernelError(syscall: string, errno: Result, where = ""): NodeJS.ErrnoException {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${syscall} ${code}${where}`), { code, errno, syscall });
}

function addressOf(udp: Udp): DatagramAddress {
  const bound = udp.address();
  if (typeof bound === "number") throw kernelError("getsockname", bound);
  const [address, port] = bound;
  return { address, port, family: address.includes(":") ? "IPv6" : "IPv4" };
}
