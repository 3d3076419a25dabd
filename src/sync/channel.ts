/** Messages over any Node Duplex: batching, backpressure both ways, signs of life, an end that is known to be one. */
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { plainMessage } from "../text/plain-message.js";
import { Packer } from "./compress.js";
import { type Deferred, deferred } from "./deferred.js";
import { clip, SyncError, toSyncError } from "./errors.js";
import { COALESCE_BYTES, GOODBYE_MS, LATE_TICKS, LINGER_MS, PING_MS, SILENCE_MS } from "./limits.js";
import { Decoder, encode, type Message } from "./wire.js";

export interface ChannelOptions {
  /** Called for every message but PING and PONG, in order. What it throws ends the channel. */
  readonly onMessage: (message: Message) => void;
  /** Called once, when nothing more will be received or sent; `undefined` after a farewell of both sides. */
  readonly onClose: (error: SyncError | undefined) => void;
  /** After this long without sending, say something. Default {@link PING_MS}. */
  readonly pingMs?: number;
  /** After this long without a byte from the peer, give it up. Default {@link SILENCE_MS}. */
  readonly silenceMs?: number;
}

/**
 * One end of the conversation. Owns the Duplex: its errors are handled here, and it is destroyed when the channel
 * closes.
 */
export class Channel {
  readonly #duplex: Duplex;
  readonly #options: ChannelOptions;
  readonly #decoder = new Decoder();
  readonly #timer: NodeJS.Timeout;
  readonly #pingMs: number;
  readonly #silenceMs: number;
  readonly #tickMs: number;
  #tickedAt = performance.now();
  #grace: NodeJS.Timeout | undefined;
  #pending: Buffer[] = [];
  /** Called when what is pending is copied. */
  #frees: (() => void)[] = [];
  /** Whether the stream has a copy of what was written when it calls back. Others may hand the memory itself on. */
  readonly #copies: boolean;
  #pendingBytes = 0;
  #flushScheduled: NodeJS.Immediate | undefined;
  #drained: Deferred | undefined;
  #holds = 0;
  #pumping = false;
  #closed = false;
  #goodbye: "none" | "said" | "heard" | "both" = "none";
  #lastSent = performance.now();
  #lastHeard = performance.now();
  #lastDrained = performance.now();
  #probes = new Map<number, (alive: boolean) => void>();
  #bytesSent = 0;
  #packer: Packer | undefined;

  constructor(duplex: Duplex, options: ChannelOptions) {
    this.#duplex = duplex;
    this.#copies = duplex instanceof TLSSocket;
    this.#options = options;
    this.#pingMs = options.pingMs ?? PING_MS;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
    duplex.on("data", this.#onData);
    duplex.on("drain", this.#onDrain);
    duplex.on("end", this.#onEnd);
    duplex.on("close", () => this.#close(this.#lost("the connection was closed")));
    duplex.on("error", (error) => this.#close(this.#lost(plainMessage(error), error)));
    this.#tickMs = Math.min(this.#pingMs, this.#silenceMs) / 3;
    this.#timer = setInterval(this.#onTick, this.#tickMs);
    if (duplex.destroyed) queueMicrotask(() => this.#close(this.#lost("the connection was closed")));
  }

  /** Bytes handed to the stream so far. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** From here on, what is sent is compressed where that pays. */
  compress(): void {
    this.#flush();
    this.#packer = new Packer();
  }

  /** Sends a message. False: better wait for {@link drained} before the next. Nothing happens once closed. */
  send(message: Message): boolean {
    return this.sendFrame(encode(message));
  }

  /** Sends an encoded message, which must not be changed before `free` is called. It may never be. */
  sendFrame(frame: Buffer, free?: () => void): boolean {
    if (this.#closed || this.#goodbye === "said" || this.#goodbye === "both") return true;
    this.#pending.push(frame);
    if (free !== undefined) this.#frees.push(free);
    this.#pendingBytes += frame.length;
    if (this.#pendingBytes >= COALESCE_BYTES) this.#flush();
    else this.#flushScheduled ??= setImmediate(() => this.#flush());
    return !this.#duplex.writableNeedDrain;
  }

  /** Resolves when the stream takes more, or at once when it does, or is closed. */
  drained(): Promise<void> {
    if (this.#closed || !this.#duplex.writableNeedDrain) return Promise.resolve();
    this.#drained ??= deferred();
    return this.#drained.promise;
  }

  /** Takes the memory of a message's content back, which nobody looks at any more. */
  recycle(content: Uint8Array): void {
    this.#decoder.recycle(content);
  }

  get needsDrain(): boolean {
    return !this.#closed && this.#duplex.writableNeedDrain;
  }

  /** Stops delivering messages, and soon reading, until {@link release}. The peer is not held to be silent. */
  hold(): void {
    this.#holds++;
  }

  /** Takes one {@link hold} back. */
  release(): void {
    if (this.#holds === 0 || --this.#holds > 0) return;
    this.#lastHeard = performance.now();
    this.#pump();
  }

  /** Whether the peer answers within `ms`. */
  probe(ms: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    const token = Math.floor(Math.random() * 0xffff_ffff);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#probes.get(token)?.(false), ms);
      this.#probes.set(token, (alive) => {
        clearTimeout(timer);
        this.#probes.delete(token);
        resolve(alive);
      });
      this.send({ type: "ping", token });
    });
  }

  /**
   * Says BYE and ends our half. The channel closes when the peer has said it too, or after `graceMs`.
   * Farewells of both sides close it without an error.
   */
  goodbye(graceMs: number = GOODBYE_MS): void {
    if (this.#closed || this.#goodbye === "said" || this.#goodbye === "both") return;
    this.send({ type: "bye" });
    this.#flush();
    this.#goodbye = this.#goodbye === "heard" ? "both" : "said";
    this.#duplex.end();
    if (this.#goodbye === "both") this.#close(undefined, true);
    else this.#grace = setTimeout(() => this.#close(undefined), graceMs).unref();
  }

  /** Tells the peer why, as well as that is still possible, and closes with `error`. */
  fail(error: SyncError): void {
    if (this.#closed) return;
    this.send({ type: "error", code: error.code, message: clip(error.message) });
    this.#flush();
    this.#close(error, true);
  }

  /** Closes at once, saying nothing to the peer. */
  destroy(error?: SyncError): void {
    this.#close(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#lastHeard = performance.now();
    this.#decoder.push(chunk);
    this.#pump();
  };

  /** A peer that has said BYE ends its half at once, and waits for us to finish and to say it too. */
  readonly #onEnd = (): void => {
    if (this.#goodbye !== "heard") this.#close(this.#lost("the connection ended in the middle of the session"));
  };

  readonly #onDrain = (): void => {
    this.#lastDrained = performance.now();
    this.#drained?.resolve();
    this.#drained = undefined;
  };

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#holds === 0 && !this.#closed) {
        const message = this.#decoder.next();
        if (message === undefined) break;
        this.#receive(message);
      }
    } catch (error) {
      this.fail(toSyncError(error));
    } finally {
      this.#pumping = false;
    }
    if (this.#closed) return;
    if (this.#holds > 0) this.#duplex.pause();
    else if (this.#duplex.isPaused()) this.#duplex.resume();
  }

  #receive(message: Message): void {
    if (message.type === "ping") {
      // A peer that asks without reading the answers does not get to fill our memory with them.
      if (!this.#duplex.writableNeedDrain) this.send({ type: "pong", token: message.token });
    } else if (message.type === "pong") this.#probes.get(message.token)?.(true);
    else if (message.type === "bye") {
      this.#goodbye = this.#goodbye === "said" ? "both" : "heard";
      if (this.#goodbye === "both") this.#close(undefined, true);
      else this.#options.onMessage(message);
    } else this.#options.onMessage(message);
  }

  readonly #onTick = (): void => {
    const now = performance.now();
    const stoodStill = now - this.#tickedAt > LATE_TICKS * this.#tickMs;
    this.#tickedAt = now;
    // What has arrived meanwhile is read before the next tick.
    if (stoodStill) return;
    // While we hold, only a peer that does not read what we sent can be told from one that waits for us.
    const blocked = this.#duplex.writableNeedDrain ? this.#lastDrained : now;
    if (now - (this.#holds > 0 ? blocked : this.#lastHeard) >= this.#silenceMs) {
      const seconds = Math.round(this.#silenceMs / 1000);
      this.#close(new SyncError("ERR_PEER_SILENT", `the other side has been silent for ${seconds} s`));
    } else if (now - this.#lastSent >= this.#pingMs && !this.#duplex.writableNeedDrain)
      this.send({ type: "ping", token: 0 });
  };

  #flush(): void {
    if (this.#flushScheduled !== undefined) clearImmediate(this.#flushScheduled);
    this.#flushScheduled = undefined;
    const frames = this.#pending;
    const first = frames[0];
    if (first === undefined || this.#closed || !this.#duplex.writable) return;
    const frees = this.#frees;
    const chunk = this.#packed(frames.length === 1 ? first : Buffer.concat(frames, this.#pendingBytes));
    this.#pending = [];
    this.#frees = [];
    this.#pendingBytes = 0;
    this.#lastSent = performance.now();
    if (!this.#duplex.writableNeedDrain) this.#lastDrained = this.#lastSent;
    this.#bytesSent += chunk.length;
    const free = (): void => {
      for (const one of frees) one();
    };
    if (chunk !== first) free();
    if (chunk !== first || !this.#copies || frees.length === 0) this.#duplex.write(chunk);
    else this.#duplex.write(chunk, (error) => (error ? undefined : free()));
  }

  #packed(plain: Buffer): Buffer {
    const content = this.#packer?.pack(plain);
    return content === undefined ? plain : encode({ type: "packed", bytes: plain.length, content });
  }

  #lost(reason: string, cause?: Error): SyncError | undefined {
    if (this.#goodbye !== "none") return undefined;
    return new SyncError("ERR_CONNECTION_LOST", reason, cause === undefined ? {} : { cause });
  }

  #close(error: SyncError | undefined, linger = false): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#grace);
    if (this.#flushScheduled !== undefined) clearImmediate(this.#flushScheduled);
    for (const answer of [...this.#probes.values()]) answer(false);
    this.#drained?.resolve();
    this.#pending = [];
    this.#dispose(linger);
    this.#options.onClose(error);
  }

  /** Destroys the Duplex: at once, or when what was written has left and the peer has ended too, within bounds. */
  #dispose(linger: boolean): void {
    const duplex = this.#duplex;
    duplex.off("data", this.#onData);
    if (!linger || duplex.destroyed || duplex.errored) {
      duplex.destroy();
      return;
    }
    const timer = setTimeout(() => duplex.destroy(), LINGER_MS).unref();
    const check = (): void => {
      if (duplex.writableFinished && duplex.readableEnded) duplex.destroy();
    };
    duplex.on("finish", check).on("end", check);
    duplex.once("close", () => clearTimeout(timer));
    duplex.resume();
    duplex.end();
    check();
  }
}
