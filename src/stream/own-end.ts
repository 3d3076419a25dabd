import { pipeError } from "./errors.js";
import type { ConfundoSocket } from "./socket.js";

/** Turns of the event loop for which a socket that ends itself, as its peer has ended, takes what is still written below TLS. */
export const LATE_WRITE_TURNS = 3;

export type WriteCallback = (error: Error | null | undefined) => void;

/**
 * Without `allowHalfOpen` the socket ends itself behind the peer's end; who writes then is given EPIPE, as in `node:net`.
 * Sockets that go on cost nothing: the method is replaced only here.
 */
export function followPeerEnd(this: ConfundoSocket): void {
  if (this.allowHalfOpen) return;
  this.noteOwnEnd();
  this.write = writeAfterEnd;
}

function writeAfterEnd(
  this: ConfundoSocket,
  chunk: string | Uint8Array,
  encoding?: BufferEncoding | WriteCallback,
  callback?: WriteCallback,
): boolean {
  if (!this.writableEnded) {
    const { write } = Object.getPrototypeOf(this) as ConfundoSocket;
    return write.call(this, chunk, encoding as BufferEncoding, callback);
  }
  const done = typeof encoding === "function" ? encoding : callback;
  if (this.writeLate(chunk, done)) return true;
  const error = pipeError();
  if (typeof done === "function") process.nextTick(done, error);
  if (!this.isOver) this.destroy(error);
  return false;
}

/** Calls back after so many turns of the event loop. */
export function afterTurns(turns: number, callback: () => void): void {
  if (turns === 0) callback();
  else setImmediate(() => afterTurns(turns - 1, callback));
}
