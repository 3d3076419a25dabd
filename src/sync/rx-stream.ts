/** Sockets, or any other Node `Duplex`, in RxJS pipelines. */
import { type Duplex, finished } from "node:stream";
import {
  catchError,
  concatMap,
  defer,
  finalize,
  ignoreElements,
  merge,
  Observable,
  type ObservableInput,
  type OperatorFunction,
  of,
  type Subscriber,
  scan,
  tap,
} from "rxjs";
import { SyncError, toSyncError } from "./errors.js";

/**
 * Emits the chunks that a socket receives, until the peer's end. Unsubscribing before that destroys the socket.
 *
 * An Observable has no way to hold its source back, but `project` has: it makes an Observable or a promise of each chunk, as
 * with `concatMap`, and the socket is paused until that has completed. The result completes when the socket has ended and the
 * last projection has completed. Errors with a {@link SyncError} whose `cause` is the error of the socket, or of `project`
 * (`ERR_CALLBACK` where that has no code), by which the socket is destroyed.
 */
export function fromSocket(socket: Duplex): Observable<Buffer>;
export function fromSocket<T>(socket: Duplex, project: (chunk: Buffer) => ObservableInput<T>): Observable<T>;
export function fromSocket(
  socket: Duplex,
  project: (chunk: Buffer) => ObservableInput<unknown> = (chunk) => of(chunk),
): Observable<unknown> {
  return defer(() => {
    let projecting = false;
    const chunks = new Observable<Buffer>((subscriber) => {
      const onData = (chunk: Buffer) => {
        projecting = true;
        subscriber.next(chunk);
        if (projecting && !subscriber.closed) socket.pause();
      };
      outletOf(socket);
      const forget = finished(socket, { writable: false }, (error) => {
        if (error) subscriber.error(socketError(error));
        else subscriber.complete();
      });
      socket.on("data", onData);
      if (socket.isPaused()) socket.resume();
      return () => {
        forget();
        socket.off("data", onData);
        if (!socket.readableEnded) socket.destroy();
      };
    });
    const projected = (chunk: Buffer) =>
      defer(() => project(chunk)).pipe(
        tap({
          complete: () => {
            projecting = false;
            if (socket.isPaused()) socket.resume();
          },
        }),
        catchError((error) => {
          socket.destroy(error);
          throw toSyncError(error, "ERR_CALLBACK");
        }),
      );
    return chunks.pipe(concatMap(projected));
  });
}

export interface ToSocketOptions {
  /** The most bytes that wait here for room in the socket; with more it errors with `ERR_LIMIT`. Default: no bound. */
  readonly maxQueued?: number | undefined;
}

/**
 * Writes each chunk of the source to a socket, and ends it when the source completes. Emits how many bytes the socket has
 * taken so far, and completes when it has finished: with Confundo, when the peer has acknowledged all of it. Unsubscribing
 * before that, or an error of the source, destroys the socket. Errors of the socket are a {@link SyncError} with a `cause`;
 * so is a chunk that is neither a string nor bytes.
 *
 * Chunks wait here for room in the socket, see {@link ToSocketOptions.maxQueued}. Where they come faster than they are sent,
 * let the source wait instead: `fromSocket(a, (chunk) => writeTo(b, chunk))`, or {@link relay}.
 */
export function toSocket(
  socket: Duplex,
  { maxQueued = Number.POSITIVE_INFINITY }: ToSocketOptions = {},
): OperatorFunction<Uint8Array | string, number> {
  return (source) =>
    defer(() => {
      const writing = new Writing(socket, maxQueued);
      const written = source.pipe(
        tap({
          next: (chunk) => writing.push(chunk),
          error: (error) => socket.destroy(error),
          complete: () => writing.end(),
        }),
        ignoreElements(),
      );
      return merge(writing.progress, written);
    });
}

/** The chunks of one {@link toSocket} that wait for room. */
class Writing {
  /** Bytes taken by the socket so far. Completes when the socket has finished, errors when it fails. */
  readonly progress: Observable<number>;
  readonly #socket: Duplex;
  readonly #outlet: Outlet;
  readonly #maxQueued: number;
  #subscriber: Subscriber<number> | undefined;
  #queue: (Uint8Array | string)[] = [];
  /** How many of the queue were written already. */
  #written = 0;
  #queuedBytes = 0;
  #takenBytes = 0;
  #full = false;
  #ended = false;

  constructor(socket: Duplex, maxQueued: number) {
    this.#socket = socket;
    this.#outlet = outletOf(socket);
    this.#maxQueued = maxQueued;
    this.progress = new Observable((subscriber) => {
      this.#subscriber = subscriber;
      subscriber.add(sent(socket).subscribe(subscriber));
      return () => {
        if (!socket.writableFinished) socket.destroy();
      };
    });
  }

  push(chunk: Uint8Array | string): void {
    requireBytes(chunk);
    this.#queue.push(chunk);
    this.#queuedBytes += Buffer.byteLength(chunk);
    if (this.#queue.length === this.#written + 1) this.#pump();
    if (this.#queuedBytes <= this.#maxQueued) return;
    const message = `${this.#queuedBytes} bytes wait for room in the socket, and maxQueued is ${this.#maxQueued}; let the source wait (writeTo), or raise maxQueued`;
    throw new SyncError("ERR_LIMIT", message);
  }

  end(): void {
    this.#ended = true;
    this.#endWhenWritten();
  }

  // A loop: a thousand chunks that find room at once must not nest a thousand calls.
  #pump(): void {
    while (!this.#full && this.#written < this.#queue.length && this.#subscriber?.closed === false) {
      const chunk = this.#queue[this.#written++] as Uint8Array | string;
      const length = Buffer.byteLength(chunk);
      this.#full = !this.#socket.write(chunk);
      if (!this.#full) this.#take(length);
      else {
        this.#outlet.waitForRoom(() => {
          this.#full = false;
          this.#take(length);
          this.#pump();
        });
      }
    }
    if (this.#written < this.#queue.length) return;
    this.#queue = [];
    this.#written = 0;
    this.#endWhenWritten();
  }

  #take(length: number): void {
    this.#takenBytes += length;
    this.#queuedBytes -= length;
    this.#subscriber?.next(this.#takenBytes);
  }

  #endWhenWritten(): void {
    if (this.#ended && this.#queue.length === 0 && !this.#full) this.#socket.end();
  }
}

/**
 * Writes one chunk when subscribed to. Emits its length, and completes, as soon as the socket has room for more. Errors with a
 * {@link SyncError} when the socket fails first, or had failed before. From the first write to a socket on, an error of it is
 * reported by writes and by whoever listens to `error`, and ends no program that does not.
 */
export function writeTo(socket: Duplex, chunk: Uint8Array | string): Observable<number> {
  return new Observable((subscriber) => {
    const outlet = outletOf(socket);
    if (outlet.error !== undefined) throw socketError(outlet.error);
    requireBytes(chunk);
    const done = () => {
      subscriber.next(Buffer.byteLength(chunk));
      subscriber.complete();
    };
    if (socket.write(chunk)) done();
    else return outlet.waitForRoom(done, (error) => subscriber.error(socketError(error)));
    return undefined;
  });
}

/**
 * Carries what each of two sockets receives to the other, with the backpressure of both. Emits how many bytes were carried so
 * far, in both directions together. The end of one is passed on to the other, which can go on sending; it completes when both
 * have ended and sent all. An error of one destroys both, and so does unsubscribing.
 */
export function relay(a: Duplex, b: Duplex): Observable<number> {
  const carry = (from: Duplex, to: Duplex) =>
    merge(
      fromSocket(from, (chunk) => writeTo(to, chunk)).pipe(tap({ complete: () => void to.end() })),
      // It may fail while nothing is written to it.
      sent(to),
    );
  return defer(() => {
    // Neither ends by itself when its peer does: what the other one still receives is for it.
    a.allowHalfOpen = b.allowHalfOpen = true;
    return merge(carry(a, b), carry(b, a)).pipe(
      tap({
        error: (error: SyncError) => {
          const cause = error.cause instanceof Error ? error.cause : error;
          a.destroy(cause);
          b.destroy(cause);
        },
      }),
      scan((total, bytes) => total + bytes, 0),
      finalize(() => {
        for (const socket of [a, b]) if (!(socket.readableEnded && socket.writableFinished)) socket.destroy();
      }),
    );
  });
}

/** Completes when a socket has finished: all that was written has been sent. Errors when it fails. */
function sent(socket: Duplex): Observable<never> {
  return new Observable((subscriber) => {
    outletOf(socket);
    return finished(socket, { readable: false }, (error) => {
      if (error) subscriber.error(socketError(error));
      else subscriber.complete();
    });
  });
}

interface Waiter {
  readonly onRoom: () => void;
  readonly onError: ((error: Error) => void) | undefined;
}

/**
 * The listeners that all writers of one socket share, however many they are, for the socket's whole life. `finished` leaves one
 * for `error`, so that a socket which fails while no Observable of it is subscribed to does not end the program.
 */
class Outlet {
  error: Error | undefined;
  readonly #waiting = new Set<Waiter>();

  constructor(socket: Duplex) {
    socket.on("drain", () => this.#release());
    finished(socket, { readable: false }, (error) => {
      this.error = error ?? undefined;
      this.#release(error ?? undefined);
    });
  }

  /** Calls back once: when there is room (or the socket has finished), or when it has failed. Returns what withdraws that. */
  waitForRoom(onRoom: () => void, onError?: (error: Error) => void): () => void {
    const waiter = { onRoom, onError };
    this.#waiting.add(waiter);
    return () => this.#waiting.delete(waiter);
  }

  #release(error?: Error): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { onRoom, onError } of waiting) {
      if (error === undefined) onRoom();
      else onError?.(error);
    }
  }
}

const outlets = new WeakMap<Duplex, Outlet>();

function outletOf(socket: Duplex): Outlet {
  let outlet = outlets.get(socket);
  if (outlet === undefined) {
    outlet = new Outlet(socket);
    outlets.set(socket, outlet);
  }
  return outlet;
}

function socketError(error: Error): SyncError {
  return toSyncError(error, "ERR_CONNECTION_LOST");
}

function requireBytes(chunk: unknown): void {
  if (typeof chunk === "string" || chunk instanceof Uint8Array) return;
  const what = chunk === null ? "null" : Array.isArray(chunk) ? "an array" : `a value of type ${typeof chunk}`;
  const cause = new TypeError(`a socket takes strings and bytes (Uint8Array), not ${what}`);
  throw toSyncError(Object.assign(cause, { code: "ERR_INVALID_ARG_TYPE" }));
}
