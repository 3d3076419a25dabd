import type { RttEstimator } from "../rtt.js";
import type { Encoder } from "./encoder.js";
import type { ExtendedConnectionOptions } from "./options.js";
import { type Nonce, newNonce, PathCheck } from "./path-check.js";
import { PathMtu } from "./pmtu.js";
import { MIN_PROBE_PACKET_BYTES, type Packet } from "./wire.js";

/** A probe waits at least this long for its answer. */
const MIN_TIMEOUT_MS = 100;
/** A probe whose answer is urgent waits for it so many round trips. */
const URGENT_ROUND_TRIPS = 3;
/**
 * The search for longer datagrams begins when so much has been acknowledged, or as much as the probe is long: on a link of a few
 * kbit/s a probe takes a second, and most connections that send less than this gain nothing by it.
 */
const SEARCH_AFTER_BYTES: number = 40 * 1024;

const PROBE_ANSWER_PACKET_BYTES = MIN_PROBE_PACKET_BYTES;

/** A probe that is to be answered, to where it came from. */
interface Answer {
  readonly nonce: Nonce;
  readonly bytes: number;
  readonly isElsewhere: boolean;
  readonly address: string;
  readonly port: number;
  readonly localAddress: string;
}

/** Probes and their answers: whether the peer is at another address, and how long a datagram its path takes. */
export class Probes {
  readonly check: PathCheck;
  readonly mtu: PathMtu;
  readonly #encoder: Encoder;
  readonly #options: ExtendedConnectionOptions;
  #answer: Answer | null = null;
  #mtuNonce: Nonce | null = null;
  #mtuSentAt = 0;
  /** A short probe was sent, only to learn the round trip. */
  #measured = false;
  /** How long the answer to the last path MTU probe took, 0 before there is one: each has a nonce of its own. */
  roundTripMs = 0;
  /** Where what was written last goes; empty: to the peer. */
  goesTo = "";
  goesToPort = 0;
  /** With {@link goesTo}: the address of this machine that it leaves from. */
  leavesFrom = "";

  constructor(options: ExtendedConnectionOptions, encoder: Encoder) {
    this.#options = options;
    this.#encoder = encoder;
    this.check = new PathCheck(options.random);
    this.mtu = new PathMtu(options.maxDatagramBytes);
  }

  get timerAt(): number {
    return Math.min(this.check.timerAt, this.mtu.timerAt);
  }

  expire(now: number): void {
    this.check.expire(now);
    this.mtu.expire(now);
  }

  /** The peer's probe will be answered; from another address than the peer's only with as many bytes as came from there. */
  onProbe(packet: Packet, isElsewhere: boolean, address: string, port: number, localAddress: string): void {
    if (isElsewhere && !this.check.spends(address, port, localAddress, PROBE_ANSWER_PACKET_BYTES)) return;
    const nonce = { high: packet.nonceHigh, low: packet.nonceLow };
    this.#answer = { nonce, bytes: packet.probeBytes, isElsewhere, address, port, localAddress };
  }

  /** What an answer proves: that the peer is where `check` says, that longer datagrams arrive, or nothing. */
  onAnswer({ nonceHigh, nonceLow, probeBytes }: Packet, now: number): "moved" | "longer" | null {
    if (this.check.isProvenBy(nonceHigh, nonceLow)) return "moved";
    if (this.#mtuNonce?.high !== nonceHigh || this.#mtuNonce.low !== nonceLow) return null;
    this.#mtuNonce = null;
    this.roundTripMs = now - this.#mtuSentAt;
    return this.mtu.onProbeArrived(probeBytes, now) ? "longer" : null;
  }

  /** Another host's path: its MTU is not known. */
  onNewPath(): void {
    this.#mtuNonce = null;
    this.mtu.onNewPath(this.#options.maxDatagramBytes);
  }

  /**
   * Writes what is due, to {@link goesTo}. Returns its length, 0 for nothing. `acknowledgedBytes` of data have arrived at the
   * peer: see {@link SEARCH_AFTER_BYTES}. `measures`: one short probe is to be sent, to learn the round trip.
   * `telling`: with our parameters.
   */
  transmit(
    out: Uint8Array,
    rtt: Readonly<RttEstimator>,
    acknowledgedBytes: number,
    measures: boolean,
    introducing: boolean,
    telling: boolean,
    now: number,
  ): number {
    const { check, mtu } = this;
    const waitMs = Math.max(MIN_TIMEOUT_MS, rtt.timeoutMs);
    if (this.#answer !== null) {
      const { nonce, bytes, isElsewhere, address, port, localAddress } = this.#answer;
      this.#answer = null;
      this.goesTo = address;
      this.goesToPort = port;
      this.leavesFrom = localAddress;
      return this.#encoder.probeAnswer(out, nonce, bytes, telling && !isElsewhere);
    }
    // Where something has come from, the introduction has arrived.
    const challenge = check.take(MIN_PROBE_PACKET_BYTES, waitMs, now);
    if (challenge !== null) {
      this.goesTo = check.address;
      this.goesToPort = check.port;
      this.leavesFrom = check.localAddress;
      return this.#encoder.probe(out, challenge, 0, false, false);
    }
    const bytes = mtu.dueBytes;
    if (bytes === 0 || bytes > out.length) return 0;
    this.goesTo = "";
    if (mtu.isUrgent) {
      // The timeout has been backed off by what is to be found out.
      mtu.onProbeSent(rtt.smoothedMs > 0 ? Math.max(MIN_TIMEOUT_MS, URGENT_ROUND_TRIPS * rtt.smoothedMs) : waitMs, now);
      return this.#encoder.probe(out, this.#newMtuNonce(now), bytes, introducing, telling);
    }
    if (acknowledgedBytes < Math.max(bytes, SEARCH_AFTER_BYTES)) {
      if (!measures || this.#measured) return 0;
      this.#measured = true;
      return this.#encoder.probe(out, this.#newMtuNonce(now), 0, introducing, telling);
    }
    mtu.onProbeSent(waitMs, now);
    return this.#encoder.probe(out, this.#newMtuNonce(now), bytes, introducing, telling);
  }

  #newMtuNonce(now: number): Nonce {
    this.#mtuSentAt = now;
    this.#mtuNonce = newNonce(this.#options.random);
    return this.#mtuNonce;
  }
}
