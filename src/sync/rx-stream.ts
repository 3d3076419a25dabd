import { type Duplex, finished } from "node:stream";
import { defer, Observable, type ObservableInput, type OperatorFunction, of, type Subscription } from "rxjs";

/**
 * What a socket (any `Duplex`) receives, chunk by chunk, until the peer's end. Unsubscribing before that destroys it.
 *
 * An Observable has no way to hold its source back, but `project` has: the next chunk is read when the Observable or
 * promise that it made of the last one has completed, as with `concatMap`, only that nothing piles up in between.
 */
export function fromSocket(socket: Duplex): Observable<Buffer>;
export function fromSocket<T>(socket: Duplex, project: (chunk: Buffer) => ObservableInput<T>): Observable<T>;
export function fromSocket(
  socket: Duplex,
  project: (chunk: Buffer) => ObservableInput<unknown> = (chunk) => of(chunk),
): Observable<unknown> {
  return new Observable((subscriber) => {
    let projecting: Subscription | null = null;
    const onData = (chunk: Buffer) => {
      let done = false;
      projecting = defer(() => project(chunk)).subscribe({
        next: (value) => subscriber.next(value),
        error: (error) => {
          destroyQuietly(socket, error);
          subscriber.error(error);
        },
        complete: () => {
          done = true;
          if (socket.isPaused()) socket.resume();
        },
      });
      if (!done) socket.pause();
    };
    const forget = finished(socket, { writable: false }, (error) => {
      if (error) subscriber.error(error);
      else subscriber.complete();
    });
    socket.on("data", onData);
    return () => {
      forget();
      socket.off("data", onData);
      projecting?.unsubscribe();
      if (!socket.readableEnded) destroyQuietly(socket);
    };
  });
}

/**
 * Writes what comes to a socket (any `Duplex`) and ends it when the source completes. Emits how many bytes it has taken so
 * far, and completes when it has finished: with Confundo, when the peer has acknowledged all of it. An error of the source
 * destroys the socket, and so does unsubscribing.
 *
 * Chunks wait here for room in the socket. Where they would come faster than they go, let the source wait instead:
 * `fromSocket(a, (chunk) => writeTo(b, chunk))`.
 */
export function toSocket(socket: Duplex): OperatorFunction<Uint8Array | string, number> {
  return (source) =>
    new Observable((subscriber) => {
      let bytes = 0;
      let ended = false;
      let full = false;
      let taken = 0;
      const queue: (Uint8Array | string)[] = [];
      const forget = finished(socket, { readable: false }, (error) => {
        if (error) subscriber.error(error);
        else subscriber.complete();
      });
      const takenUp = (chunk: Uint8Array | string) => {
        bytes += Buffer.byteLength(chunk);
        subscriber.next(bytes);
      };
      // A loop and not one operator in another: a thousand chunks that find room at once must not nest a thousand calls.
      const pump = () => {
        while (!full && taken < queue.length && !subscriber.closed) {
          const chunk = queue[taken++] as Uint8Array | string;
          full = !socket.write(chunk);
          if (!full) takenUp(chunk);
          else socket.once("drain", () => drained(chunk));
        }
        if (taken < queue.length) return;
        taken = queue.length = 0;
        if (ended && !full) socket.end();
      };
      const drained = (chunk: Uint8Array | string) => {
        full = false;
        takenUp(chunk);
        pump();
      };
      const writing = source.subscribe({
        next: (chunk) => {
          queue.push(chunk);
          if (queue.length === taken + 1) pump();
        },
        error: (error) => {
          destroyQuietly(socket, error);
          subscriber.error(error);
        },
        complete: () => {
          ended = true;
          if (queue.length === 0 && !full) socket.end();
        },
      });
      return () => {
        forget();
        writing.unsubscribe();
        if (!socket.writableFinished) destroyQuietly(socket);
      };
    });
}

/** Writes one chunk when subscribed to. Emits its length, and completes, as soon as the socket has room for more. */
export function writeTo(socket: Duplex, chunk: Uint8Array | string): Observable<number> {
  return new Observable((subscriber) => {
    const done = () => {
      subscriber.next(Buffer.byteLength(chunk));
      subscriber.complete();
    };
    if (socket.write(chunk)) {
      done();
      return;
    }
    socket.once("drain", done);
    const forget = finished(socket, { readable: false }, (error) => {
      if (error) subscriber.error(error);
      else done();
    });
    return () => {
      forget();
      socket.off("drain", done);
    };
  });
}

/** Destroys a socket whose errors have been, or need not be, told to anybody else. */
function destroyQuietly(socket: Duplex, error?: Error): void {
  if (socket.destroyed) return;
  socket.on("error", () => {});
  socket.destroy(error);
}
