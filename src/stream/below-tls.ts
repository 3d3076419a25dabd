import type { Duplex } from "node:stream";

/**
 * Sockets below node:tls. It reads streams that are not of node:net through a wrapper of its own, which destroys the TLS socket as
 * soon as the stream closes, with all that its program has not read yet. So a stream below it must stay open until the TLS socket
 * has been read to its end and closes it, as a net.Socket does, whose descriptor the TLS socket owns.
 */

/** The wrapper's module, in the stack while it is made. */
const WRAPPER = "node:internal/js_stream_socket";
/** The name of its `data` listener. That of `pipe()` has the same. */
const LISTENER = "ondata";
/** This function, the socket's `on`, and the wrapper's constructor are the first frames. */
const FRAMES = 4;

/** Whether a `data` listener that is being added is that of the wrapper. */
export function isReaderOfTls(listener: { readonly name: string }): boolean {
  if (listener.name !== LISTENER) return false;
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = FRAMES;
  const { stack } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  return String(stack).includes(WRAPPER);
}

/** Lets a stream stay open behind both ends until it is destroyed. */
export function leaveClosingToReader(stream: Duplex): void {
  const { _readableState, _writableState } = stream as unknown as Record<string, { autoDestroy: boolean }>;
  for (const state of [_readableState, _writableState]) if (state !== undefined) state.autoDestroy = false;
}
