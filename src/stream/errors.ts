import { isIP } from "node:net";
import { constants } from "node:os";
import type { Failure, ResetReason } from "../protocol/index.js";
import { unmapped } from "./datagram/mtu.js";

/** The codes of {@link ConfundoError}. They are those that `node:net` uses; each is a heading in docs/errors.md. */
export type ConfundoErrorCode =
  | "ABORT_ERR"
  | "EACCES"
  | "EADDRINUSE"
  | "EADDRNOTAVAIL"
  | "ECONNREFUSED"
  | "ECONNRESET"
  | "EMFILE"
  | "EMSGSIZE"
  | "ENOTFOUND"
  | "EPIPE"
  | "EPROTONOSUPPORT"
  | "ERR_ACCESS_DENIED"
  | "ERR_INVALID_ADDRESS_FAMILY"
  | "ERR_INVALID_IP_ADDRESS"
  | "ERR_IP_BLOCKED"
  | "ERR_SERVER_ALREADY_LISTEN"
  | "ERR_SERVER_NOT_RUNNING"
  | "ETIMEDOUT";

export interface ConfundoErrorDetails {
  readonly cause?: unknown;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** The IP address. Default: `host`. */
  readonly address?: string | undefined;
  /** What was under way: `connect`, `read`, `write`, `listen` or `getaddrinfo`. */
  readonly syscall?: string;
}

/** What went wrong with a socket or a server, in words for people and a stable `code` for programs. */
export class ConfundoError extends Error {
  override name = "ConfundoError";
  readonly code: ConfundoErrorCode;
  readonly host: string | undefined;
  readonly port: number | undefined;
  /** The IP address where it is known, and otherwise the host's name. */
  readonly address: string | undefined;
  readonly syscall: string | undefined;
  /** The system's negative number for `code`, as in the errors of `node:net`; undefined where there is none. */
  readonly errno: number | undefined;

  /** The message begins as in `node:net`: `connect ECONNREFUSED 127.0.0.1:5000: …`. */
  constructor(code: ConfundoErrorCode, message: string, details: ConfundoErrorDetails = {}) {
    const prefix = details.syscall === undefined ? "" : messagePrefix(code, details);
    super(prefix + message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.errno = errnoOf(code, details.cause);
    this.address = details.address ?? details.host;
    this.host = details.host;
    this.port = details.port;
    this.syscall = details.syscall;
  }
}

function messagePrefix(code: string, { syscall, host, port }: ConfundoErrorDetails): string {
  const isName = port === undefined || syscall === "getaddrinfo";
  const peer = host === undefined ? "" : isName ? ` ${host}` : ` ${endpointName(host, port)}`;
  return `${syscall} ${code}${peer}: `;
}

function errnoOf(code: string, cause: unknown): number | undefined {
  const { code: causeCode, errno } = (cause ?? {}) as NodeJS.ErrnoException;
  if (causeCode === code && errno !== undefined) return errno;
  const known = (constants.errno as Record<string, number>)[code];
  return known === undefined ? undefined : -known;
}

/** `host:port`, with brackets around an IPv6 address. An IPv4 address that a socket of both families sees is shown as one. */
export function endpointName(host: string, port: number): string {
  const name = unmapped(host);
  return name.includes(":") ? `[${name}]:${port}` : `${name}:${port}`;
}

/** Why a connection ended early, with what the kernel said of the peer in the meantime, if it said anything. */
export function connectionError(
  failure: Failure,
  host: string,
  port: number,
  silenceTimeoutMs: number,
  kernelHint: NodeJS.ErrnoException | null,
  resetReason: ResetReason | null,
  address: string | undefined,
): ConfundoError {
  const seconds = silenceTimeoutMs / 1000;
  const refused = kernelHint?.code === "ECONNREFUSED";
  const details = { host, port, address, cause: kernelHint ?? undefined };
  if (failure === "aborted") return abortError(host, port, undefined);
  if (failure === "handshake-timeout") {
    const reason = refused
      ? "The kernel reported ECONNREFUSED: nothing listens on that port. Start the server, or check the port."
      : kernelHint !== null
        ? `The kernel reported ${kernelHint.code}: check the network and the address.`
        : "Check that the server is running, that it speaks Confundo, and that no firewall drops UDP.";
    return new ConfundoError("ETIMEDOUT", `no answer within ${seconds} s. ${reason}`, {
      ...details,
      syscall: "connect",
    });
  }
  if (failure === "fin-unanswered") {
    const message = `the peer acknowledged every byte, but the end (FIN) was not answered for ${seconds} s. All data has arrived; the program at the other end has stopped, or does not answer a FIN.`;
    return new ConfundoError("ETIMEDOUT", message, { ...details, syscall: "shutdown" });
  }
  if (failure === "path-mtu" || (failure === "reset" && resetReason === "path-mtu")) {
    const message =
      "the path carries no IP packets of 576 bytes, the least that a connection needs. Raise the MTU of the network interface or tunnel on the way (ip link shows it) to 576 or more, better 1,280.";
    return new ConfundoError("EMSGSIZE", message, { ...details, syscall: "send" });
  }
  if (failure === "not-extended") {
    const message = `the server speaks only the classic protocol, or another version of the extended edition, and extended: "required" was asked for. Update the program there, or allow the fallback with extended: true.`;
    return new ConfundoError("EPROTONOSUPPORT", message, { ...details, syscall: "connect" });
  }
  if (failure === "refused") {
    const message = "the kernel reported ECONNREFUSED: the program at the other end has ended.";
    return new ConfundoError("ECONNRESET", message, { ...details, syscall: "read" });
  }
  if (failure === "reset") {
    const why =
      resetReason === "unread"
        ? ": its program reads nothing any more"
        : resetReason === "silent"
          ? `: it had not heard from here for ${seconds} s`
          : resetReason === "refused"
            ? ": it is closed, or has as many connections as it takes"
            : resetReason === "version"
              ? ": it speaks another version of the extended edition; update the older of both programs"
              : "";
    const message =
      resetReason === "restarted"
        ? "the peer no longer knows the connection: its program was restarted. Connect again."
        : `the peer has given up the connection and said so${why}.`;
    return new ConfundoError("ECONNRESET", message, { ...details, syscall: "read" });
  }
  if (refused) {
    const message = `the kernel reported ECONNREFUSED, and ${seconds} s passed without a packet. The program at the other end has ended.`;
    return new ConfundoError("ECONNRESET", message, { ...details, syscall: "read" });
  }
  const hint = kernelHint === null ? "" : ` The kernel reported ${kernelHint.code}.`;
  const message = `the peer has been silent for ${seconds} s, so the connection was given up.${hint} The network or the program at the other end has stopped.`;
  return new ConfundoError("ETIMEDOUT", message, { ...details, syscall: "read" });
}

/** A write to a peer that has ended, has everything, and is gone. */
export function endedError(host: string, port: number): ConfundoError {
  const message = "the peer has ended the connection and no longer answers: what is written now cannot arrive.";
  return new ConfundoError("EPIPE", message, { host, port, syscall: "write" });
}

/** The error of a connection to a port where nothing listens. */
export function refusedError(host: string, address: string, port: number, cause?: unknown): ConfundoError {
  const message = "nothing listens on that UDP port. Start the server, or check the port.";
  return new ConfundoError("ECONNREFUSED", message, { cause, host, port, address, syscall: "connect" });
}

/** The error of a connection to a server that has closed, and whose port is open only for the connections that it still has. */
export function closingError(host: string, address: string, port: number): ConfundoError {
  const message =
    "the server is closing: it only serves the connections that it has. Start it again, or wait until it is started.";
  return new ConfundoError("ECONNREFUSED", message, { host, port, address, syscall: "connect" });
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
  const message = `the host name could not be resolved (${cause.code}). Check its spelling and the network's name service.`;
  const error = new ConfundoError("ENOTFOUND", message, { cause, host, port, syscall: "getaddrinfo" });
  return Object.assign(error, { hostname: host });
}

/** What is wrong with the answer of a `lookup` that has no usable address in it. */
export function addressError(
  answer: { address?: unknown; family?: unknown } | undefined,
  host: string,
  port: number,
): ConfundoError {
  const { address, family } = answer ?? {};
  return typeof address === "string" && isIP(address) !== 0
    ? new ConfundoError("ERR_INVALID_ADDRESS_FAMILY", `Invalid address family: ${family} ${host}:${port}`, {
        host,
        port,
      })
    : new ConfundoError("ERR_INVALID_IP_ADDRESS", `Invalid IP address: ${address}`, { host, port });
}

/** The error of a connection to an address on the block list. */
export function blockedError(address: string, port: number): ConfundoError {
  const message = `IP(${address}) is blocked by net.BlockList`;
  return new ConfundoError("ERR_IP_BLOCKED", message, { host: address, port });
}

/** An Error with a code, and the message that `node:net` has for a socket that is used when it cannot be. */
function usageError(code: SocketUsageCode, message: string): Error & { code: SocketUsageCode } {
  return Object.assign(new Error(message), { code });
}

type SocketUsageCode = "EPIPE" | "ERR_SOCKET_CLOSED" | "ERR_SOCKET_CLOSED_BEFORE_CONNECTION";

/** The error of writing after the peer has ended, where that ends this side too. */
export function pipeError(): Error {
  return usageError("EPIPE", "This socket has been ended by the other party");
}

/** The error of using a socket that has no connection. */
export function socketClosedError(): Error {
  return usageError("ERR_SOCKET_CLOSED", "Socket is closed");
}

/** The error of a write whose socket was destroyed before its connection was open. */
export function closedBeforeConnectionError(): Error {
  return usageError("ERR_SOCKET_CLOSED_BEFORE_CONNECTION", "Socket closed before the connection was established");
}

/** The error of a connection whose own address cannot be had. */
export function localAddressError(
  cause: NodeJS.ErrnoException,
  localAddress: string,
  localPort: number,
): ConfundoError {
  const { code, text } = bindFailure(cause, "Choose another local address or port.", "cannot send from that address");
  return new ConfundoError(code, text, { cause, host: localAddress, port: localPort, syscall: "bind" });
}

/** What a failed `listen` means. `advice` comes behind an EADDRINUSE. */
export function bindError(cause: NodeJS.ErrnoException, host: string, port: number, advice = ""): ConfundoError {
  if (cause.code === "ENOTFOUND" || cause.code === "EAI_AGAIN") return lookupError(cause, host, port);
  const choose = "Choose an address of this machine.";
  const { code, text } = bindFailure(cause, choose, "cannot listen on that address");
  const message = code === "EADDRINUSE" && advice !== "" ? `${text} ${advice}` : text;
  return new ConfundoError(code, message, { cause, host, port, syscall: "listen" });
}

function bindFailure(
  { code }: NodeJS.ErrnoException,
  choose: string,
  otherwise: string,
): { code: ConfundoErrorCode; text: string } {
  switch (code) {
    case "EADDRINUSE": {
      const text =
        "the UDP address is already in use. End the program that uses it, or choose another port (0 picks a free one).";
      return { code, text };
    }
    case "EACCES": {
      const text = "no permission to use that port. Choose one above 1023, or run with the right to bind low ports.";
      return { code, text };
    }
    case "ERR_ACCESS_DENIED": {
      const text = "Node runs with --permission and may not use the network. Run it with --allow-net as well.";
      return { code, text };
    }
    case "EMFILE": {
      const text =
        "this process has no file descriptor left for a UDP socket. Raise its limit (ulimit -n), or close some.";
      return { code, text };
    }
    default:
      return { code: "EADDRNOTAVAIL", text: `${otherwise} (${code}). ${choose}` };
  }
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
