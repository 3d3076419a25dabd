import { emptyStats } from "../../../../src/protocol/connection.js";
import { Sender } from "../../../../src/protocol/extended/sender.js";
import type { SentSegment } from "../../../../src/protocol/extended/sent-segments.js";
import { emptyPacket, toWireTime } from "../../../../src/protocol/extended/wire.js";
import type { ControllerName } from "../../../../src/protocol/index.js";
import { PORTABLE_MEMORY } from "../../../../src/protocol/memory.js";

export const SEGMENT = 1000;
const ISN = 0xffff_f000;

/** A sender that is given acknowledgements by hand. Segments are told by their number: 0 has bytes 0 to 999. */
export class ScriptedSender {
  readonly stats = emptyStats();
  readonly sender: Sender;

  constructor(segments: number, options: { congestion?: ControllerName; rttMs?: number } = {}) {
    const { congestion = "cubic", rttMs = 100 } = options;
    this.sender = new Sender({
      isn: ISN,
      segmentBytes: SEGMENT,
      congestion,
      random: () => 0.5,
      stats: this.stats,
      memory: PORTABLE_MEMORY,
    });
    this.sender.shortSegments = "immediate";
    this.sender.onHandshake(rttMs, false, 0);
    this.write(segments);
  }

  write(segments: number): void {
    this.sender.buffer.append(new Uint8Array(segments * SEGMENT));
    this.sender.buffer.own();
  }

  /** The segments that leave now. */
  send(now: number): number[] {
    const sent: number[] = [];
    for (let segment = this.sender.next(SEGMENT, now); segment !== null; segment = this.sender.next(SEGMENT, now)) {
      sent.push(numberOf(segment));
    }
    return sent;
  }

  /** Everything before segment `next` is acknowledged, and some behind it; `echo` is when what is answered was sent. */
  ack(now: number, next: number, echo: number, sacked: number[] = [], duplicate?: number): void {
    const packet = emptyPacket();
    packet.acknowledgement = sequence(next);
    packet.windowBytes = 1_000_000;
    packet.echo = toWireTime(echo);
    const blocks = duplicate === undefined ? sacked : [duplicate, ...sacked];
    packet.firstIsDuplicate = duplicate !== undefined;
    packet.blockCount = blocks.length;
    for (const [i, segment] of blocks.entries()) {
      packet.blocks[2 * i] = sequence(segment);
      packet.blocks[2 * i + 1] = sequence(segment + 1);
    }
    this.sender.beginDatagrams(1);
    this.sender.receiveAck(packet, now);
  }
}

function sequence(segment: number): number {
  return (ISN + 1 + segment * SEGMENT) % 0x1_0000_0000;
}

function numberOf(segment: SentSegment): number {
  return (segment.start - 1) / SEGMENT;
}
