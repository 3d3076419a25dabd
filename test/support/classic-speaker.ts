/**
 * A second speaker of the classic protocol, written from the course pages alone, as a student would. It shares nothing
 * with the implementation it is used to check.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { EventEmitter, once } from "node:events";

const FIN = 1;
const SYN = 2;
const ACK = 4;

/** The numbers of one course's page. */
export interface Course {
  readonly mss: number;
  readonly maxSequence: number;
  readonly clientIsn: number;
  readonly serverIsn: number;
  readonly initialCwnd: number;
  readonly ssthresh: number;
}

const UCLA: Course = {
  mss: 512,
  maxSequence: 102_400,
  clientIsn: 12_345,
  serverIsn: 4321,
  initialCwnd: 512,
  ssthresh: 10_000,
};
const FIU: Course = {
  mss: 412,
  maxSequence: 50_000,
  clientIsn: 50_000,
  serverIsn: 4321,
  initialCwnd: 412,
  ssthresh: 12_000,
};

export const COURSES = {
  "ucla-2017": UCLA,
  "ucla-2019": UCLA,
  "uno-2020": UCLA,
  "fiu-2019": UCLA,
  "fiu-2020": { ...UCLA, maxSequence: 204_800, clientIsn: 42, initialCwnd: 1024, ssthresh: 15_000 },
  "fiu-2021": { ...FIU, maxSequence: 40_000, clientIsn: 77 },
  "fiu-2023": FIU,
} as const satisfies Record<string, Course>;

export type CourseName = keyof typeof COURSES;

/** What it needs of a clock; a test may bring its own. */
export interface SpeakerClock {
  now(): number;
  setTimer(callback: () => void, delayMs: number): { close(): unknown };
}

const SYSTEM_CLOCK: SpeakerClock = {
  now: () => performance.now(),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
};

interface Packet {
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly id: number;
  readonly flags: number;
  readonly data: Buffer;
}

export function encode(sequence: number, acknowledgement: number, id: number, flags: number, data?: Buffer): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(sequence, 0);
  header.writeUInt32BE(acknowledgement, 4);
  header.writeUInt16BE(id, 8);
  header.writeUInt16BE(flags, 10);
  return data === undefined ? header : Buffer.concat([header, data]);
}

export function decode(bytes: Buffer): Packet | null {
  if (bytes.length < 12) return null;
  return {
    sequence: bytes.readUInt32BE(0),
    acknowledgement: bytes.readUInt32BE(4),
    id: bytes.readUInt16BE(8),
    flags: bytes.readUInt16BE(10) & (ACK | SYN | FIN),
    data: bytes.subarray(12),
  };
}

// ---- client ------------------------------------------------------------------------------------------------------

export interface CourseClientOptions {
  readonly course: CourseName;
  readonly port: number;
  readonly data: Buffer;
  readonly clock?: SpeakerClock;
  /** How the third packet of the handshake looks. Default: data rides on the ACK. */
  readonly third?: "ack-with-data" | "bare-ack" | "data-at-once";
  /** Says nothing any more once so many bytes are acknowledged. */
  readonly silentAfter?: number;
}

/** Sends `data` to a server on 127.0.0.1 and resolves when the FIN exchange is over, or rejects after 10 s of silence. */
export function courseClient(options: CourseClientOptions): Promise<void> {
  return new CourseClient(options).done;
}

class CourseClient {
  readonly done: Promise<void>;
  readonly #options: CourseClientOptions;
  readonly #course: Course;
  readonly #clock: SpeakerClock;
  readonly #modulus: number;
  readonly #udp: Socket = createSocket("udp4");
  #state: "syn" | "open" | "fin" | "wait" | "over" = "syn";
  #id = 0;
  #serverNext = 0;
  #acked = 0;
  #next = 0;
  #everSent = 0;
  #cwnd: number;
  #ssthresh: number;
  #heardAt: number;
  #retransmit: { close(): unknown } | null = null;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(options: CourseClientOptions) {
    this.#options = options;
    this.#course = COURSES[options.course];
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#modulus = this.#course.maxSequence + 1;
    this.#cwnd = this.#course.initialCwnd;
    this.#ssthresh = this.#course.ssthresh;
    this.#heardAt = this.#clock.now();
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#udp.on("message", (bytes) => this.#receive(bytes));
    this.#udp.bind(0, "127.0.0.1", () => this.#sendState());
  }

  #sequenceOf(offset: number): number {
    return (this.#course.clientIsn + 1 + offset) % this.#modulus;
  }

  #send(sequence: number, acknowledgement: number, flags: number, data?: Buffer): void {
    this.#udp.send(encode(sequence, acknowledgement, this.#id, flags, data), this.#options.port, "127.0.0.1");
  }

  /** Sends what the state says is due, and again 0.5 s later unless something new comes. */
  #sendState(): void {
    if (this.#state === "syn") this.#send(this.#course.clientIsn, 0, SYN);
    else if (this.#state === "fin") this.#send(this.#sequenceOf(this.#options.data.length), 0, FIN);
    else this.#sendWindow(0);
    this.#restartTimer();
  }

  #restartTimer(): void {
    this.#retransmit?.close();
    this.#retransmit = this.#clock.setTimer(() => this.#timeout(), 500);
  }

  #timeout(): void {
    const silent = this.#clock.now() - this.#heardAt >= 10_000;
    if (this.#state === "wait" || silent) {
      this.#end(this.#state === "wait" ? undefined : new Error("10 s of silence"));
      return;
    }
    if (this.#state === "open") {
      this.#ssthresh = Math.floor(this.#cwnd / 2);
      this.#cwnd = this.#course.initialCwnd;
      this.#next = this.#acked;
    }
    this.#sendState();
  }

  /** Sends as much as the window allows; the first segment with the flags that are given. */
  #sendWindow(flags: number): void {
    const { data } = this.#options;
    while (this.#next < data.length) {
      const segment = data.subarray(this.#next, this.#next + this.#course.mss);
      if (this.#next - this.#acked + segment.length > this.#cwnd) break;
      this.#send(this.#sequenceOf(this.#next), flags === 0 ? 0 : this.#serverNext, flags, segment);
      flags = 0;
      this.#next += segment.length;
      this.#everSent = Math.max(this.#everSent, this.#next);
    }
  }

  #receive(bytes: Buffer): void {
    const packet = decode(bytes);
    if (packet === null || (this.#id !== 0 && packet.id !== this.#id)) return;
    this.#heardAt = this.#clock.now();
    if (this.#state === "syn" && packet.flags === (SYN | ACK)) this.#becomeOpen(packet);
    else if (this.#state === "open" && packet.flags === ACK) this.#acknowledged(packet);
    else if (this.#state === "fin" && (packet.flags & ACK) !== 0) this.#finAcknowledged(packet);
    if (this.#state === "wait" && (packet.flags & FIN) !== 0) {
      this.#send(this.#sequenceOf(this.#options.data.length + 1), (packet.sequence + 1) % this.#modulus, ACK);
    }
  }

  #becomeOpen(packet: Packet): void {
    if (packet.acknowledgement !== this.#sequenceOf(0)) return;
    this.#id = packet.id;
    this.#serverNext = (packet.sequence + 1) % this.#modulus;
    this.#state = "open";
    const { third = "ack-with-data", data } = this.#options;
    if (third === "bare-ack" || data.length === 0) this.#send(this.#sequenceOf(0), this.#serverNext, ACK);
    this.#sendWindow(third === "ack-with-data" ? ACK : 0);
    this.#restartTimer();
    this.#finishIfAllAcknowledged();
  }

  #acknowledged(packet: Packet): void {
    const forward = (packet.acknowledgement - this.#sequenceOf(this.#acked) + this.#modulus) % this.#modulus;
    if (forward === 0 || this.#acked + forward > this.#everSent) return;
    this.#acked += forward;
    this.#next = Math.max(this.#next, this.#acked);
    const { mss } = this.#course;
    this.#cwnd += this.#cwnd < this.#ssthresh ? mss : Math.floor((mss * mss) / this.#cwnd);
    this.#cwnd = Math.min(this.#cwnd, Math.floor(this.#course.maxSequence / 2));
    const { silentAfter } = this.#options;
    if (silentAfter !== undefined && this.#acked >= silentAfter) {
      this.#end();
      return;
    }
    this.#sendWindow(0);
    this.#restartTimer();
    this.#finishIfAllAcknowledged();
  }

  #finishIfAllAcknowledged(): void {
    if (this.#acked < this.#options.data.length) return;
    this.#state = "fin";
    this.#sendState();
  }

  #finAcknowledged(packet: Packet): void {
    if (packet.acknowledgement !== this.#sequenceOf(this.#options.data.length + 1)) return;
    this.#state = "wait";
    this.#retransmit?.close();
    this.#retransmit = this.#clock.setTimer(() => this.#timeout(), 2000);
  }

  #end(error?: Error): void {
    this.#state = "over";
    this.#retransmit?.close();
    this.#udp.close();
    if (error === undefined) this.#resolve();
    else this.#reject(error);
  }
}

// ---- server ------------------------------------------------------------------------------------------------------

/** What servers of the courses were seen to do. */
export interface Quirks {
  /** Data that rides on an ACK is never acknowledged. */
  readonly ignoresRidingData?: boolean;
  /** ACK and SYN come in two packets. */
  readonly splitHandshake?: boolean;
  /** How a FIN is answered. Default: one ACK|FIN. */
  readonly finAnswer?: "ack-fin" | "ack-then-fin" | "ack-only";
  /** Acknowledgements carry the leftovers of a buffer. */
  readonly garbage?: boolean;
  /** Says nothing any more after so many bytes. */
  readonly silentAfter?: number;
}

export interface CourseServerOptions extends Quirks {
  readonly course: CourseName;
  readonly clock?: SpeakerClock;
}

interface Upload {
  readonly from: RemoteInfo;
  readonly id: number;
  readonly pieces: Buffer[];
  received: number;
  finished: boolean;
  finTimer: { close(): unknown } | null;
}

/** Receives files, in order only: what comes early is dropped. Emits `file` (id, content). */
export class CourseServer extends EventEmitter<{ file: [id: number, content: Buffer] }> {
  readonly #options: CourseServerOptions;
  readonly #course: Course;
  readonly #clock: SpeakerClock;
  readonly #modulus: number;
  readonly #udp: Socket = createSocket("udp4");
  readonly #uploads: Upload[] = [];

  private constructor(options: CourseServerOptions) {
    super();
    this.#options = options;
    this.#course = COURSES[options.course];
    this.#modulus = this.#course.maxSequence + 1;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#udp.on("message", (bytes, from) => this.#receive(bytes, from));
  }

  static async start(options: CourseServerOptions): Promise<CourseServer> {
    const server = new CourseServer(options);
    server.#udp.bind(0, "127.0.0.1");
    await once(server.#udp, "listening");
    return server;
  }

  get port(): number {
    return this.#udp.address().port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const upload of this.#uploads) upload.finTimer?.close();
    this.#udp.close();
  }

  #receive(bytes: Buffer, from: RemoteInfo): void {
    const packet = decode(bytes);
    if (packet === null) return;
    this.#clock.now();
    if (packet.flags === SYN) {
      this.#receiveSyn(packet, from);
      return;
    }
    const upload = this.#uploads[packet.id - 1];
    if (upload === undefined || upload.from.port !== from.port) return;
    if (upload.received >= (this.#options.silentAfter ?? Number.POSITIVE_INFINITY)) return;
    const riding = packet.flags === ACK;
    if ((packet.flags & FIN) !== 0) this.#receiveFin(packet, upload);
    else if (upload.finished && riding) upload.finTimer?.close();
    else if (packet.data.length > 0 && !(this.#options.ignoresRidingData && riding)) this.#receiveData(packet, upload);
  }

  #receiveSyn(packet: Packet, from: RemoteInfo): void {
    let upload = this.#uploads.find((known) => known.from.port === from.port);
    if (upload === undefined) {
      const id = this.#uploads.length + 1;
      upload = { from, id, pieces: [], received: 0, finished: false, finTimer: null };
      this.#uploads.push(upload);
    }
    const next = (packet.sequence + 1) % this.#modulus;
    if (this.#options.splitHandshake) {
      this.#send(upload, this.#course.serverIsn, next, ACK);
      this.#send(upload, this.#course.serverIsn, 0, SYN);
    } else {
      this.#send(upload, this.#course.serverIsn, next, ACK | SYN);
    }
  }

  #receiveData(packet: Packet, upload: Upload): void {
    if (packet.sequence === this.#next(upload) && !upload.finished) {
      upload.pieces.push(Buffer.from(packet.data));
      upload.received += packet.data.length;
    }
    this.#acknowledge(upload);
  }

  #receiveFin(packet: Packet, upload: Upload): void {
    if (!upload.finished && packet.sequence !== this.#next(upload)) {
      this.#acknowledge(upload);
      return;
    }
    if (!upload.finished) {
      upload.finished = true;
      this.emit("file", upload.id, Buffer.concat(upload.pieces));
    }
    const { finAnswer = "ack-fin" } = this.#options;
    if (finAnswer !== "ack-fin") this.#acknowledge(upload);
    if (finAnswer !== "ack-only") this.#sendFin(upload, finAnswer === "ack-fin" ? ACK | FIN : FIN, 20);
  }

  /** Resends its FIN every 0.5 s until it is acknowledged, or 10 s long. */
  #sendFin(upload: Upload, flags: number, triesLeft: number): void {
    upload.finTimer?.close();
    const acknowledgement = (flags & ACK) === 0 ? 0 : this.#next(upload);
    this.#send(upload, (this.#course.serverIsn + 1) % this.#modulus, acknowledgement, flags);
    if (triesLeft === 0) return;
    upload.finTimer = this.#clock.setTimer(() => this.#sendFin(upload, flags, triesLeft - 1), 500);
  }

  #next(upload: Upload): number {
    return (this.#course.clientIsn + 1 + upload.received + (upload.finished ? 1 : 0)) % this.#modulus;
  }

  #acknowledge(upload: Upload): void {
    const garbage = this.#options.garbage ? Buffer.alloc(this.#course.mss, "leftovers") : undefined;
    this.#send(upload, (this.#course.serverIsn + 1) % this.#modulus, this.#next(upload), ACK, garbage);
  }

  #send(upload: Upload, sequence: number, acknowledgement: number, flags: number, data?: Buffer): void {
    this.#udp.send(encode(sequence, acknowledgement, upload.id, flags, data), upload.from.port, upload.from.address);
  }
}
