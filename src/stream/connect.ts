import { connectArguments } from "./arguments.js";
import { ConfundoSocket } from "./socket.js";
import type { ConnectOptions } from "./socket-options.js";

/**
 * Opens a connection and returns its socket at once; `connect` is emitted when the handshake is done, and data may be
 * written before.
 *
 * @throws TypeError ERR_MISSING_ARGS, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_INVALID_IP_ADDRESS
 * @throws RangeError ERR_SOCKET_BAD_PORT, ERR_OUT_OF_RANGE
 * @throws ProtocolError ERR_UNKNOWN_EDITION
 *
 * The socket's errors: ENOTFOUND (unknown host), ECONNREFUSED (nothing listens there), ETIMEDOUT (no answer, or silence),
 * ECONNRESET (the peer's program is gone), ABORT_ERR (by the signal), ERR_IP_BLOCKED (by the block list), EADDRINUSE and
 * EADDRNOTAVAIL (the local address asked for), EMFILE (no more descriptors).
 */
export function connect(options: ConnectOptions, onConnect?: () => void): ConfundoSocket;
export function connect(port: number, host?: string, onConnect?: () => void): ConfundoSocket;
export function connect(port: number, onConnect?: () => void): ConfundoSocket;
export function connect(...args: unknown[]): ConfundoSocket {
  const [options, onConnect] = connectArguments<ConnectOptions>(args);
  const socket = new ConfundoSocket(options);
  socket.connect(options, onConnect ?? undefined);
  if (options.timeout) socket.setTimeout(options.timeout);
  return socket;
}

/** The other name of {@link connect}, as in `node:net`. */
export const createConnection = connect;
