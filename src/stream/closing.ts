/**
 * The rules by which a socket that is destroyed ends its connection, and takes the peer's reset. They are the shell's: the
 * core knows an end and a reset, and no listeners or errors of a program.
 *
 * | `destroy()`                                                                   | at the peer                    |
 * | ----------------------------------------------------------------------------- | ------------------------------ |
 * | without an error                                                              | what was written, then `end`   |
 * | with the AbortError of a `for await` that has read everything                 | what was written, then `end`   |
 * | with an error, in a listener that has read everything and written the answer  | what was written, then `end`   |
 * | with any other error                                                          | what was written, then a reset |
 */

/** The progress of a socket's program: what it has read and written. */
export interface Progress {
  readonly bytesRead: number;
  /** Bytes that have arrived and that the program has not read. */
  readonly bytesUnread: number;
  /** Bytes written and not yet acknowledged. */
  readonly bytesHeld: number;
  /** Bytes written since the program last read any. */
  readonly bytesWrittenSinceRead: number;
  /** A write has not been called back yet. */
  readonly isWriting: boolean;
  /** A listener of the socket is being called. */
  readonly isInListener: boolean;
  readonly readableEnded: boolean;
  readonly writableEnded: boolean;
}

/** Whether `destroy(error)` is a regular end for the peer. Any other error must not look like one, so that no peer takes a part for the whole. */
export function isRegularEnd(error: Error, progress: Progress): boolean {
  return isEndOfLoop(error, progress) || isAnswered(progress);
}

/**
 * A `for await` that has read everything destroys a socket that may still be written with an AbortError of its own,
 * without a cause. For the peer that is a regular end, as a kernel would give it.
 */
function isEndOfLoop(error: Error, { readableEnded, isWriting }: Progress): boolean {
  return readableEnded && error.name === "AbortError" && error.cause === undefined && !isWriting;
}

/**
 * In the listener that read all that the peer sent, the program has answered, and gives the connection up with an error:
 * `node:http` refuses bad requests like that. A kernel sends such an answer, and a FIN; a reset only follows what the peer sends
 * after it. Nothing written earlier may be under way, as of a file that could not be read to its end.
 */
function isAnswered(progress: Progress): boolean {
  const { isInListener, bytesHeld, isWriting, bytesRead, bytesUnread, bytesWrittenSinceRead } = progress;
  if (!isInListener || bytesHeld === 0 || isWriting) return false;
  return bytesRead > 0 && bytesUnread === 0 && bytesHeld <= bytesWrittenSinceRead;
}

/**
 * Both sides have ended, and the peer's program has closed without reading the last answer to what it sent, as a close_notify
 * of TLS: a reset because of unread bytes. With `node:net` the socket is closed when the reset arrives. It closes without an error,
 * and without `finish`.
 */
export function isUnreadFarewell(peerHasEnded: boolean, progress: Progress): boolean {
  const { writableEnded, isWriting, bytesRead, bytesHeld, bytesWrittenSinceRead } = progress;
  return peerHasEnded && writableEnded && !isWriting && bytesRead > 0 && bytesHeld <= bytesWrittenSinceRead;
}
