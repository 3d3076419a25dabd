/** One who listens to events, and how far it is. */

import { MAX_MISSED_PINGS } from "../limits.js";
import type { Listener, Sight } from "./hub.js";
import type { EventSocket } from "./upgrade.js";

/** Why a WebSocket is closed. Below 4400 the client may come back at once. */
export const CLOSE = {
  goingAway: [1001, "the server is closing; come back with after="],
  failed: [1011, "the server failed; come back with after="],
  full: [1013, "too many listen; come back later"],
  unauthenticated: [4401, "the token was revoked or has expired"],
} as const;

export interface Source {
  /** The events after a number that somebody may see, in frames; `last` is how far that reaches. */
  page(after: number, sight: Sight): Promise<{ bytes: Buffer; last: number; gone: boolean; more: boolean }>;
  /** A frame that says that some events after a number are not kept any more. */
  gone(after: number): Buffer;
  /** It is ended because it answers no pings, or reads nothing. */
  silent(): void;
  /** The subscriber is no more. */
  leave(): void;
}

/** Beyond this a subscriber is not fed before it has read. */
const MOST_BUFFERED_BYTES = 64 * 1024;
/** Events that pass without anything being read. */
const MOST_MISSED_BYTES = 64 * 1024 * 1024;

/**
 * It is fed in one of two ways. While it keeps up, by what is new. When it does not (or wants older events first), from the
 * log, a page at a time as it reads, until it has caught up. Either way each event comes once and in order.
 */
export class Subscriber {
  readonly listener: Listener;
  readonly #socket: EventSocket;
  readonly #source: Source;
  /** The last event that was written to it. */
  #sent = Number.POSITIVE_INFINITY;
  #behind = true;
  #feeding = false;
  #over = false;
  #missedBeats = 0;
  /** Bytes of events that it should have got since it read last. */
  #missedBytes = 0;
  /** What is of the moment and waits for room: only the newest does. */
  #waiting: Buffer | undefined;
  sight: Sight = new Map();
  sightKey = "";

  constructor(socket: EventSocket, listener: Listener, source: Source) {
    this.#socket = socket;
    this.listener = listener;
    this.#source = source;
    const { webSocket, stream } = socket;
    webSocket.on("pong", () => {
      this.#missedBeats = 0;
    });
    webSocket.on("error", () => webSocket.terminate());
    webSocket.on("close", () => this.#finish());
    stream.on("drain", () => this.#onDrain());
  }

  /** Whether it has been told hello. */
  get ready(): boolean {
    return this.#sent !== Number.POSITIVE_INFINITY && !this.#over;
  }

  begin(sight: Sight, after: number, hello: Buffer): void {
    if (this.#over) return;
    this.see(sight);
    this.#sent = after;
    this.#write(hello);
    void this.#feed();
  }

  /** What it may see is this from now on. */
  see(sight: Sight): void {
    this.sight = sight;
    this.sightKey = sight === null ? "*" : [...sight.keys()].sort().join("/");
  }

  /** Events `first` to `last` are new; `bytes` are those of them that it may see. */
  news(bytes: Buffer, first: number, last: number): void {
    if (!this.ready) return;
    if (this.#behind) {
      if (this.#full) this.#miss(bytes.length);
      return;
    }
    if (this.#full || first <= this.#sent) {
      this.#behind = true;
      if (!this.#full) void this.#feed();
      else this.#miss(bytes.length);
      return;
    }
    this.#sent = last;
    this.#write(bytes);
  }

  /** Something that is true now and will be replaced: where there is no room, it waits, and the next one takes its place. */
  moment(bytes: Buffer): void {
    if (!this.ready) return;
    if (this.#full) this.#waiting = bytes;
    else this.#write(bytes);
  }

  /** It has not read what was sent, and this is more that it should: one who reads nothing does not stay for long. */
  #miss(bytes: number): void {
    this.#missedBytes += bytes;
    if (this.#missedBytes <= MOST_MISSED_BYTES) return;
    this.#source.silent();
    this.#socket.webSocket.terminate();
  }

  /** Asks for a sign of life; ends it where the last ones were not answered. */
  beat(): void {
    // Who reads slowly has much to read before it comes to a ping.
    if (this.#missedBeats++ < MAX_MISSED_PINGS) {
      this.#socket.webSocket.ping();
      return;
    }
    this.#source.silent();
    this.#socket.webSocket.terminate();
  }

  end(code: number, reason: string): void {
    if (this.#over) return;
    this.#socket.webSocket.close(code, reason);
    this.#finish();
  }

  get #full(): boolean {
    return this.#socket.stream.writableLength > MOST_BUFFERED_BYTES;
  }

  #onDrain(): void {
    if (this.#over) return;
    this.#missedBeats = 0;
    this.#missedBytes = 0;
    if (this.#waiting !== undefined) this.#write(this.#waiting);
    this.#waiting = undefined;
    if (this.#behind) void this.#feed();
  }

  /** From the log, until it has caught up or has enough to read. */
  async #feed(): Promise<void> {
    if (this.#feeding) return;
    this.#feeding = true;
    try {
      while (!this.#over && !this.#full) {
        const { bytes, last, gone, more } = await this.#source.page(this.#sent, this.sight);
        if (this.#over) return;
        if (gone) this.#write(this.#source.gone(this.#sent));
        this.#sent = last;
        this.#write(bytes);
        if (more) continue;
        this.#behind = false;
        return;
      }
    } catch {
      this.end(...CLOSE.failed);
    } finally {
      this.#feeding = false;
    }
  }

  #write(bytes: Buffer): void {
    const { stream, webSocket } = this.#socket;
    if (bytes.length > 0 && webSocket.readyState === webSocket.OPEN) stream.write(bytes);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#source.leave();
  }
}
