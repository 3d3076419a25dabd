import type { Failure, ResetReason } from "../protocol/index.js";

/** The codes of {@link ConfundoError}. They are those that `node:net` uses; each is a heading in docs/errors.md. */
export type ConfundoErrorCode =
  | "ABORT_ERR"
  | "EACCES"
  | "EADDRINUSE"
  | "EADDRNOTAVAIL"
  | "ECONNRESET"
  | "ENOTFOUND"
  | "EPIPE"
  | "EPROTONOSUPPORT"
  | "ERR_SERVER_ALREADY_LISTEN"
  | "ERR_SERVER_NOT_RUNNING"
  | "ERR_SOCKET_BAD_PORT"
  | "ETIMEDOUT";

export interface ConfundoErrorDetails {
  readonly cause?: unknown;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** What was under way: `connect`, `read`, `bind` or `getaddrinfo`. */
  readonly syscall?: string;
}

/** What went wrong with a socket or a server, in words for people and a stable `code` for programs. */
export class ConfundoError extends Error {
  override name = "ConfundoError";
  readonly code: ConfundoErrorCode;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly syscall: string | undefined;

  constructor(code: ConfundoErrorCode, message: string, details: ConfundoErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.host = details.host;
    this.port = details.port;
    this.syscall = details.syscall;
  }
}

/** `host:port`, with brackets around an IPv6 address. */
export function endpointName(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Why a connection ended early, with what the kernel said of the peer in the meantime, if it said anything. */
export function connectionError(
  failure: Failure,
  host: string,
  port: number,
  silenceTimeoutMs: number,
  kernelHint: NodeJS.ErrnoException | null,
  resetReason: ResetReason | null,
): ConfundoError {
  const peer = endpointName(host, port);
  const seconds = silenceTimeoutMs / 1000;
  const refused = kernelHint?.code === "ECONNREFUSED";
  const details = { host, port, cause: kernelHint ?? undefined };
  if (failure === "aborted") return abortError(host, port, undefined);
  if (failure === "handshake-timeout") {
    const reason = refused
      ? "The kernel reported ECONNREFUSED: nothing listens on that port. Start the server, or check the port."
      : kernelHint !== null
        ? `The kernel reported ${kernelHint.code}: check the network and the address.`
        : "Check that the server is running, that it speaks Confundo, and that no firewall drops UDP.";
    return new ConfundoError("ETIMEDOUT", `No answer from ${peer} within ${seconds} s. ${reason}`, {
      ...details,
      syscall: "connect",
    });
  }
  if (failure === "fin-unanswered") {
    const message = `${peer} acknowledged every byte, but the end (FIN) was not answered for ${seconds} s. All data has arrived; the program at the other end has stopped, or does not answer a FIN.`;
    return new ConfundoError("ETIMEDOUT", message, { ...details, syscall: "shutdown" });
  }
  if (failure === "not-extended") {
    const message = `${peer} speaks only the classic protocol, and extended: "required" was asked for. Update the program there, or allow the fallback with extended: true.`;
    return new ConfundoError("EPROTONOSUPPORT", message, { ...details, syscall: "connect" });
  }
  if (failure === "reset") {
    const why =
      resetReason === "unread"
        ? ": its program reads nothing any more"
        : resetReason === "silent"
          ? `: it had not heard from here for ${seconds} s`
          : "";
    const message = `${peer} has given up the connection and said so${why}.`;
    return new ConfundoError("ECONNRESET", message, { ...details, syscall: "read" });
  }
  if (refused) {
    const message = `${peer} is gone: the kernel reported ECONNREFUSED, and ${seconds} s passed without a packet. The program at the other end has ended.`;
    return new ConfundoError("ECONNRESET", message, { ...details, syscall: "read" });
  }
  const hint = kernelHint === null ? "" : ` The kernel reported ${kernelHint.code}.`;
  const message = `${peer} has been silent for ${seconds} s, so the connection was given up.${hint} The network or the program at the other end has stopped.`;
  return new ConfundoError("ETIMEDOUT", message, { ...details, syscall: "read" });
}

/** A write to a peer that has ended, has everything, and is gone. */
export function endedError(host: string, port: number): ConfundoError {
  const message = `${endpointName(host, port)} has ended the connection and is gone: what is written now cannot arrive.`;
  return new ConfundoError("EPIPE", message, { host, port, syscall: "write" });
}

/** An `AbortError`, as `node:net` gives for an aborted signal, that names the peer. */
export function abortError(host: string, port: number, reason: unknown): ConfundoError {
  const error = new ConfundoError("ABORT_ERR", `The connection to ${endpointName(host, port)} was aborted.`, {
    cause: reason,
    host,
    port,
  });
  error.name = "AbortError";
  return error;
}

/** What a failed `getaddrinfo` means. */
export function lookupError(cause: NodeJS.ErrnoException, host: string, port: number): ConfundoError {
  const message = `The host name ${JSON.stringify(host)} could not be found (${cause.code}). Check its spelling and the network's name service.`;
  return new ConfundoError("ENOTFOUND", message, { cause, host, port, syscall: "getaddrinfo" });
}

/** What a failed `bind` means. */
export function bindError(cause: NodeJS.ErrnoException, host: string, port: number): ConfundoError {
  const details = { cause, host, port, syscall: "bind" };
  const where = endpointName(host, port);
  switch (cause.code) {
    case "EADDRINUSE":
      return new ConfundoError(
        "EADDRINUSE",
        `The UDP address ${where} is already in use. End the program that uses it, or choose another port (0 picks a free one).`,
        details,
      );
    case "EACCES":
      return new ConfundoError(
        "EACCES",
        `No permission to use ${where}. Choose a port above 1023, or run with the right to bind low ports.`,
        details,
      );
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return lookupError(cause, host, port);
    default:
      return new ConfundoError(
        "EADDRNOTAVAIL",
        `Cannot listen on ${where} (${cause.code}). Choose an address of this machine.`,
        details,
      );
  }
}

/**
 * Checks a port number.
 * @throws ConfundoError ERR_SOCKET_BAD_PORT
 */
export function checkPort(port: unknown, lowest: 0 | 1): number {
  const number = typeof port === "string" && port.trim() !== "" ? Number(port) : port;
  if (typeof number !== "number" || !Number.isInteger(number) || number < lowest || number > 65_535) {
    throw new ConfundoError("ERR_SOCKET_BAD_PORT", `A port is a number from ${lowest} to 65535, not ${String(port)}.`);
  }
  return number;
}

/**
 * Throws what a listener has thrown where nothing of ours is under way. It is the program's affair, as in `node:net`, and
 * keeps nothing else from being done.
 */
export function throwLater(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
