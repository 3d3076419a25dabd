import {
  type AckSample,
  type CongestionController,
  type ControllerName,
  createController,
  emptyAckSample,
} from "../../../../src/protocol/congestion/index.js";
import { Pacer } from "../../../../src/protocol/pacer.js";
import { Random } from "../../../support/random.js";
import { TcpBbr } from "./tcp-bbr.js";

/**
 * A bottleneck on paper: one drop-tail queue in front of one link, a constant delay, and losses at random; and senders that
 * know at once what a real one learns from SACK. It says what a controller does, not what a connection does.
 */
export interface Path {
  /** Bytes per millisecond at a time. */
  readonly rate: number | ((now: number) => number);
  readonly rttMs: number | ((now: number) => number);
  readonly queueBytes: number;
  /** Lost behind the queue: it took the link's time. */
  readonly loss?: number;
  /** Lost before the queue: it took none. */
  readonly lossBefore?: number;
  readonly seed?: number;
  /** Acknowledgements leave at multiples of this. */
  readonly ackTickMs?: number;
  /** Timers fire at multiples of this. */
  readonly timerMs?: number;
  /** Timers and acknowledgements are late by as much as this. */
  readonly jitterMs?: number;
}

export interface FlowSpec {
  readonly name: ControllerName | "tcp-bbr";
  readonly bytes?: number;
  readonly startMs?: number;
  readonly initialSegments?: number;
  readonly segmentBytes?: number;
  /** Writes stop at times: what may be sent per millisecond at most. */
  readonly supply?: number;
  readonly watch?: (flow: Flow, ack: AckSample) => void;
}

const NEVER = Number.POSITIVE_INFINITY;
const RING = 1 << 16;
const SENT = 1;
const ARRIVING = 2;

export class Bottleneck {
  readonly flows: Flow[];
  now = 0;
  dropped = 0;
  passed = 0;
  queueSum = 0;
  queueMost = 0;
  readonly path: Path;
  readonly random: () => number;
  #freeAt = 0;

  constructor(path: Path, specs: FlowSpec[]) {
    this.path = path;
    const source = new Random(path.seed ?? 1);
    this.random = () => source.next();
    this.flows = specs.map((spec) => new Flow(this, spec));
  }

  /** Runs until then, or until everything is delivered. */
  run(untilMs: number): void {
    for (;;) {
      let first: Flow | null = null;
      let at = NEVER;
      for (const flow of this.flows) {
        const due = flow.due();
        if (due < at) {
          at = due;
          first = flow;
        }
      }
      if (first === null || at > untilMs) {
        this.now = at === NEVER ? this.now : untilMs;
        return;
      }
      this.now = Math.max(this.now, at);
      first.act(this.now);
    }
  }

  /** When it will be acknowledged; 0 if it never arrives. */
  carry(bytes: number, now: number): number {
    const { path } = this;
    if (path.lossBefore !== undefined && this.random() < path.lossBefore) return 0;
    const rate = typeof path.rate === "number" ? path.rate : path.rate(now);
    const backlog = Math.max(0, this.#freeAt - now) * rate;
    if (backlog + bytes > path.queueBytes + bytes) {
      this.dropped++;
      return 0;
    }
    this.queueSum += backlog;
    this.queueMost = Math.max(this.queueMost, backlog);
    this.passed++;
    this.#freeAt = Math.max(this.#freeAt, now) + bytes / rate;
    if (path.loss !== undefined && this.random() < path.loss) return 0;
    const rttMs = typeof path.rttMs === "number" ? path.rttMs : path.rttMs(now);
    return this.tick(this.#freeAt + rttMs / 2, path.ackTickMs ?? 0.25) + rttMs / 2;
  }

  tick(at: number, tickMs: number): number {
    const jitter = this.path.jitterMs === undefined ? 0 : this.random() * this.path.jitterMs;
    const tick = at + jitter;
    return tickMs === 0 ? tick : Math.ceil(tick / tickMs) * tickMs;
  }

  get meanQueue(): number {
    return this.queueSum / this.passed;
  }
}

export class Flow {
  readonly controller: CongestionController;
  readonly pacer: Pacer;
  readonly spec: FlowSpec;
  readonly segment: number;
  delivered = 0;
  lostBytes = 0;
  inFlight = 0;
  timeouts = 0;
  doneAt = NEVER;
  srtt = 0;
  minRtt = 0;
  readonly #net: Bottleneck;
  readonly #ack = emptyAckSample();
  readonly #state = new Uint8Array(RING);
  readonly #sentAt = new Float64Array(RING);
  readonly #ackedAt = new Float64Array(RING);
  readonly #deliveredThen = new Float64Array(RING);
  readonly #deliveredAtThen = new Float64Array(RING);
  readonly #firstSentThen = new Float64Array(RING);
  readonly #limitedThen = new Uint8Array(RING);
  #una = 0;
  #next = 0;
  /** Everything before it has been acknowledged or has been given up by the path. */
  #ackNext = 0;
  #toSend: number;
  #deliveredAt = 0;
  #firstSentAt = 0;
  #limitedUntil = 0;
  #recoveryEnd = -1;
  #timer: number;
  #ptoAt = NEVER;
  #ptos = 0;
  #newest = -1;
  #supplied = 0;

  constructor(net: Bottleneck, spec: FlowSpec) {
    this.#net = net;
    this.spec = spec;
    this.segment = spec.segmentBytes ?? 1460;
    this.controller =
      spec.name === "tcp-bbr"
        ? new TcpBbr(this.segment, net.random)
        : createController(spec.name, {
            segmentBytes: this.segment,
            initialCwnd: (spec.initialSegments ?? 32) * this.segment,
            random: net.random,
          });
    this.pacer = new Pacer();
    this.#toSend = spec.bytes === undefined ? NEVER : Math.ceil(spec.bytes / this.segment) * this.segment;
    this.#timer = spec.startMs ?? 0;
  }

  due(): number {
    this.#skip();
    const ack = this.#ackNext < this.#next ? (this.#ackedAt[this.#ackNext % RING] as number) : NEVER;
    return Math.min(ack, this.#timer, this.#ptoAt);
  }

  act(now: number): void {
    this.#skip();
    if (this.#ackNext < this.#next && (this.#ackedAt[this.#ackNext % RING] as number) <= now) this.#acknowledge(now);
    else if (this.#ptoAt <= now) this.#probe(now);
    this.#send(now);
  }

  #skip(): void {
    while (this.#ackNext < this.#next && this.#state[this.#ackNext % RING] !== ARRIVING) this.#ackNext++;
  }

  #acknowledge(now: number): void {
    const ack = this.#ack;
    ack.now = now;
    ack.ackedBytes = 0;
    ack.lostBytes = 0;
    ack.rttMs = 0;
    ack.priorInFlight = this.inFlight;
    let newest = -1;
    for (; this.#ackNext < this.#next; this.#ackNext++) {
      const at = this.#ackNext % RING;
      if (this.#state[at] !== ARRIVING) continue;
      if ((this.#ackedAt[at] as number) > now) break;
      this.#state[at] = 0;
      newest = at;
      this.#newest = this.#ackNext;
      ack.ackedBytes += this.segment;
    }
    const rtt = now - (this.#sentAt[newest] as number);
    ack.rttMs = rtt;
    this.srtt = this.srtt === 0 ? rtt : this.srtt + (rtt - this.srtt) / 8;
    this.minRtt = this.minRtt === 0 ? rtt : Math.min(this.minRtt, rtt);
    this.delivered += ack.ackedBytes;
    this.inFlight -= ack.ackedBytes;
    this.#deliveredAt = now;
    this.#sampleRate(newest, now);
    this.#ptos = 0;
    this.#detectLosses(now, 1.25 * Math.max(this.srtt, rtt));
    this.#tell(now);
    this.#armProbe(now);
    if (this.delivered >= (this.spec.bytes ?? NEVER) && this.doneAt === NEVER) this.doneAt = now;
  }

  #tell(now: number): void {
    const ack = this.#ack;
    const lost = ack.lostBytes > 0;
    if (this.#newest >= this.#recoveryEnd) this.#recoveryEnd = -1;
    if (lost && this.#recoveryEnd < 0) {
      this.#recoveryEnd = this.#next;
      this.controller.onLoss(ack.priorInFlight, now);
    }
    ack.inFlight = this.inFlight;
    ack.smoothedRttMs = this.srtt;
    ack.minRttMs = this.minRtt;
    ack.delivered = this.delivered;
    ack.inRecovery = this.#recoveryEnd >= 0;
    this.controller.onAck(ack);
    this.pacer.setRate(this.controller.pacingRate, this.segment, now);
    this.spec.watch?.(this, ack);
  }

  /** draft-ietf-ccwg-bbr section 4.1. */
  #sampleRate(newest: number, now: number): void {
    const ack = this.#ack;
    ack.priorDelivered = this.#deliveredThen[newest] as number;
    ack.appLimited = this.#limitedThen[newest] === 1;
    if (this.delivered > this.#limitedUntil) this.#limitedUntil = 0;
    const sendElapsed = (this.#sentAt[newest] as number) - (this.#firstSentThen[newest] as number);
    const ackElapsed = now - (this.#deliveredAtThen[newest] as number);
    this.#firstSentAt = this.#sentAt[newest] as number;
    const interval = Math.max(sendElapsed, ackElapsed);
    ack.deliveryRate = interval < this.minRtt || interval <= 0 ? 0 : (this.delivered - ack.priorDelivered) / interval;
  }

  /** A later one has arrived, and a quarter of a round trip has gone by: RACK's default. */
  #detectLosses(now: number, afterMs: number): void {
    for (; this.#una < this.#next; this.#una++) {
      const at = this.#una % RING;
      if (this.#una < this.#newest && this.#state[at] === SENT && (this.#sentAt[at] as number) + afterMs <= now) {
        this.#lose(at);
        continue;
      }
      if (this.#state[at] !== 0) break;
    }
  }

  #lose(at: number): void {
    this.#state[at] = 0;
    this.inFlight -= this.segment;
    this.lostBytes += this.segment;
    this.#toSend += this.segment;
    this.#ack.lostBytes += this.segment;
  }

  /** Once what is old is taken for lost; a second time everything is. */
  #probe(now: number): void {
    const ack = this.#ack;
    ack.now = now;
    ack.ackedBytes = 0;
    ack.lostBytes = 0;
    ack.rttMs = 0;
    ack.deliveryRate = 0;
    ack.priorInFlight = this.inFlight;
    if (this.#ptos++ > 0) {
      this.timeouts++;
      this.#recoveryEnd = this.#next;
      this.controller.onTimeout(this.inFlight, now);
    }
    for (let id = this.#una; id < this.#next; id++) {
      const at = id % RING;
      if (this.#state[at] === SENT && (this.#sentAt[at] as number) + 1.25 * this.srtt <= now) this.#lose(at);
    }
    this.#tell(now);
    this.#armProbe(now);
  }

  #armProbe(now: number): void {
    this.#ptoAt =
      this.inFlight > 0 ? now + (this.srtt === 0 ? 1000 : Math.max(2 * this.srtt, 5)) * 2 ** this.#ptos : NEVER;
  }

  #send(now: number): void {
    if (now >= this.#timer) this.#timer = NEVER;
    const { segment, controller, pacer } = this;
    const start = this.spec.startMs ?? 0;
    if (now < start) return;
    let wanted = this.#toSend;
    if (this.spec.supply !== undefined) wanted = Math.min(wanted, this.spec.supply * (now - start) - this.#supplied);
    let sent = false;
    while (wanted >= segment && this.inFlight + segment <= controller.cwnd && pacer.budget(now) >= segment) {
      if (this.#next - this.#una >= RING) throw new Error("the ring is full");
      this.#transmit(now);
      wanted -= segment;
      sent = true;
    }
    if (sent && this.#ptoAt === NEVER) this.#armProbe(now);
    if (wanted < segment) {
      this.#limitedUntil = this.delivered + this.inFlight;
      if (this.spec.supply !== undefined && this.#toSend >= segment)
        this.#timer = this.#net.tick(now + segment / this.spec.supply, 1);
    } else if (this.inFlight + segment <= controller.cwnd) {
      this.#timer = this.#net.tick(pacer.nextReleaseAt(now, wanted), this.#net.path.timerMs ?? 1);
    }
  }

  #transmit(now: number): void {
    const { segment } = this;
    const at = this.#next++ % RING;
    if (this.inFlight === 0) {
      this.#firstSentAt = now;
      this.#deliveredAt = now;
    }
    const arrives = this.#net.carry(segment, now);
    this.#state[at] = arrives === 0 ? SENT : ARRIVING;
    // The path keeps the order, ticks or not.
    this.#ackedAt[at] = arrives === 0 ? 0 : Math.max(arrives, now);
    this.#sentAt[at] = now;
    this.#deliveredThen[at] = this.delivered;
    this.#deliveredAtThen[at] = this.#deliveredAt;
    this.#firstSentThen[at] = this.#firstSentAt;
    this.#limitedThen[at] = this.#limitedUntil > 0 ? 1 : 0;
    this.#toSend -= segment;
    this.#supplied += segment;
    this.inFlight += segment;
    this.controller.onSent(segment, this.inFlight, now);
    this.pacer.onSent(segment, now);
  }
}

/** Jain's index: 1 when all are equal, 1/n when one has it all. */
export function jain(values: number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  return sum ** 2 / (values.length * values.reduce((a, b) => a + b ** 2, 0));
}

export const megabits = (value: number): number => (value * 1e6) / 8 / 1000;
