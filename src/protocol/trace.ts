import { ACK, FIN, type Header, SYN } from "./packet.js";

/**
 * Receives each log line of the course programs, without a line end. It is the one thing the core calls: it must not call
 * back into the core.
 */
export type TraceSink = (line: string) => void;

/** What a log line shows of a header. */
export type TracedHeader = Omit<Header, "bits">;

/** `RECV <seq> <ack> <id> <cwnd> <ssthresh> [ACK] [SYN] [FIN]`, with cwnd as it was before the packet changed it. */
export function traceReceived(header: TracedHeader, cwnd: number, ssthresh: number): string {
  return `RECV ${numbers(header)} ${cwnd} ${ssthresh}${flagWords(header.flags)}`;
}

/** `SEND <seq> <ack> <id> <cwnd> <ssthresh> [ACK] [SYN] [FIN] [DUP]`; DUP marks a retransmission. */
export function traceSent(header: TracedHeader, cwnd: number, ssthresh: number, duplicate: boolean): string {
  return `SEND ${numbers(header)} ${cwnd} ${ssthresh}${flagWords(header.flags)}${duplicate ? " DUP" : ""}`;
}

/** `DROP <seq> <ack> <id> [ACK] [SYN] [FIN]`; all zero for a datagram that is too short for a header. */
export function traceDropped(header: TracedHeader): string {
  return `DROP ${numbers(header)}${flagWords(header.flags)}`;
}

function numbers(header: TracedHeader): string {
  return `${header.sequence} ${header.acknowledgement} ${header.connectionId}`;
}

function flagWords(flags: number): string {
  return `${flags & ACK ? " ACK" : ""}${flags & SYN ? " SYN" : ""}${flags & FIN ? " FIN" : ""}`;
}
