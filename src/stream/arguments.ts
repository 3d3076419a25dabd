import { type BlockList, isIP } from "node:net";
import { inspect } from "node:util";

/** The codes of the TypeErrors and RangeErrors that wrong arguments are answered with, as in `node:net`. */
export type ArgumentErrorCode =
  | "ERR_INVALID_ARG_TYPE"
  | "ERR_INVALID_ARG_VALUE"
  | "ERR_INVALID_FD_TYPE"
  | "ERR_INVALID_IP_ADDRESS"
  | "ERR_MISSING_ARGS"
  | "ERR_OUT_OF_RANGE"
  | "ERR_SOCKET_BAD_PORT";

/** Milliseconds of the longest timer of Node. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Builds the TypeError or RangeError of a wrong argument, with a `code`, as Node's own validation does. */
export function argumentError(
  type: typeof TypeError | typeof RangeError,
  code: ArgumentErrorCode,
  message: string,
): Error & { code: ArgumentErrorCode } {
  return Object.assign(new type(message), { code });
}

/** Says in words what was given instead, as Node's messages do. */
function received(value: unknown): string {
  if (value === null || value === undefined) return ` Received ${value}`;
  if (typeof value === "function") return ` Received function ${value.name}`;
  if (typeof value === "object") return ` Received an instance of ${value.constructor?.name ?? inspect(value)}`;
  return ` Received type ${typeof value} (${inspect(value).slice(0, 28)})`;
}

/** Builds the error of an argument that has another type than `expected` says. */
export function typeError(name: string, expected: string, value: unknown): Error {
  const what = name.includes(".") ? "property" : "argument";
  const message = `The "${name}" ${what} must be ${expected}.${received(value)}`;
  return argumentError(TypeError, "ERR_INVALID_ARG_TYPE", message);
}

/**
 * Checks a port number, which may be a string of digits.
 * @throws RangeError ERR_SOCKET_BAD_PORT
 */
export function checkPort(port: unknown, name = "Port"): number {
  const number = typeof port === "string" && port.trim() !== "" ? Number(port) : port;
  if (typeof number !== "number" || !Number.isInteger(number) || number < 0 || number > 65_535) {
    const message = `${name} should be >= 0 and < 65536.${received(port)}.`;
    throw argumentError(RangeError, "ERR_SOCKET_BAD_PORT", message);
  }
  return number;
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkFunction(value: unknown, name: string): void {
  if (typeof value !== "function") throw typeError(name, "of type function", value);
}

/**
 * Checks a duration in milliseconds and shortens it to the longest one that Node's timers know.
 * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
 */
export function checkDuration(ms: unknown, name: string): number {
  if (typeof ms !== "number") throw typeError(name, "of type number", ms);
  if (ms < 0 || !Number.isFinite(ms)) {
    const message = `The value of "${name}" is out of range. It must be a non-negative finite number.${received(ms)}`;
    throw argumentError(RangeError, "ERR_OUT_OF_RANGE", message);
  }
  return Math.min(ms, LONGEST_TIMER_MS);
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, RangeError ERR_OUT_OF_RANGE */
export function checkSocketOptions(options: object): void {
  const given = options as Record<string, unknown>;
  for (const name of ["objectMode", "readableObjectMode", "writableObjectMode"]) {
    if (!given[name]) continue;
    const message = `The property 'options.${name}' is not supported. Received ${inspect(given[name])}`;
    throw argumentError(TypeError, "ERR_INVALID_ARG_VALUE", message);
  }
  checkNumber(given.keepAliveInitialDelay, "options.keepAliveInitialDelay");
  checkBlockList(given.blockList);
  if (given.fd !== undefined) checkDescriptor(given.fd);
  const { signal } = given;
  if (signal !== undefined && !(typeof signal === "object" && signal !== null && "aborted" in signal)) {
    throw typeError("options.signal", "an instance of AbortSignal", signal);
  }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkBlockList(blockList: unknown): asserts blockList is BlockList | undefined {
  if (blockList == null || typeof (blockList as BlockList).check === "function") return;
  throw typeError("options.blockList", "an instance of net.BlockList", blockList);
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkNumber(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== "number") throw typeError(name, "of type number", value);
}

/** The least silence timeout: no network is faster than this for sure. */
const MIN_SILENCE_TIMEOUT_MS = 100;

/**
 * Checks the option `silenceTimeoutMs`.
 * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
 */
export function checkSilenceTimeout(ms: number | undefined): number | undefined {
  if (ms === undefined) return undefined;
  if (typeof ms !== "number") throw typeError("options.silenceTimeoutMs", "of type number", ms);
  if (Number.isInteger(ms) && ms >= MIN_SILENCE_TIMEOUT_MS && ms <= LONGEST_TIMER_MS) return ms;
  const range = `a whole number >= ${MIN_SILENCE_TIMEOUT_MS} and <= ${LONGEST_TIMER_MS}`;
  const message = `The value of "options.silenceTimeoutMs" is out of range. It must be ${range}.${received(ms)}`;
  throw argumentError(RangeError, "ERR_OUT_OF_RANGE", message);
}

/** A descriptor cannot become a Confundo connection, whatever it is. */
function checkDescriptor(fd: unknown): never {
  if (typeof fd !== "number") throw typeError("fd", "of type number", fd);
  if (!Number.isInteger(fd) || fd < 0) {
    const message = `The value of "fd" is out of range. It must be >= 0.${received(fd)}`;
    throw argumentError(RangeError, "ERR_OUT_OF_RANGE", message);
  }
  throw argumentError(TypeError, "ERR_INVALID_FD_TYPE", `Unsupported fd type: ${fd} is no Confundo connection.`);
}

/** An array of arguments that `node:net` has sorted out already, which node:http hands on. */
function isNormalized(value: unknown): value is [object, (() => void) | null] {
  return (
    Array.isArray(value) &&
    Object.getOwnPropertySymbols(value).some(({ description }) => description === "normalizedArgs")
  );
}

/**
 * Sorts out the arguments of `connect`: options, or a port and perhaps a host, and perhaps a listener.
 * @throws TypeError ERR_MISSING_ARGS, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_INVALID_IP_ADDRESS
 * @throws RangeError ERR_SOCKET_BAD_PORT
 */
export function connectArguments<Options extends object>(args: readonly unknown[]): [Options, (() => void) | null] {
  const [options, listener] = isNormalized(args[0]) ? args[0] : sortConnectArguments(args);
  checkTarget(options as Record<string, unknown>);
  return [options as Options, listener];
}

function sortConnectArguments(args: readonly unknown[]): [object, (() => void) | null] {
  const [target, host] = args;
  const last = args.at(-1);
  const listener = typeof last === "function" ? (last as () => void) : null;
  // Not `instanceof Object`: the options of node:http have no prototype.
  if (typeof target === "object" && target !== null) return [target, listener];
  if (typeof target === "string" && Number.isNaN(Number(target))) return [{ path: target }, listener];
  if (typeof target === "function" || target === undefined) return [{}, listener];
  return [typeof host === "string" ? { port: target, host } : { port: target }, listener];
}

function checkTarget({ port, path, host, lookup, localAddress, localPort }: Record<string, unknown>): void {
  if (port === undefined && path != null) {
    const message = `The property 'options.path' is not supported: Confundo connects to UDP ports. Received ${inspect(path)}`;
    throw argumentError(TypeError, "ERR_INVALID_ARG_VALUE", message);
  }
  if (port === undefined) {
    const message = 'The "options" or "port" or "path" argument must be specified';
    throw argumentError(TypeError, "ERR_MISSING_ARGS", message);
  }
  if (host != null && typeof host !== "string") throw typeError("options.host", "of type string", host);
  if (localAddress != null && isIP(String(localAddress)) === 0) {
    throw argumentError(TypeError, "ERR_INVALID_IP_ADDRESS", `Invalid IP address: ${localAddress}`);
  }
  if (localPort != null) {
    checkNumber(localPort, "options.localPort");
    checkPort(localPort, "options.localPort");
  }
  if (typeof port !== "number" && typeof port !== "string") {
    throw typeError("options.port", "one of type number or string", port);
  }
  checkPort(port);
  if (lookup != null) checkFunction(lookup, "options.lookup");
}

/**
 * Sorts out the arguments of `listen`: options, or a port and perhaps a host and a backlog, and perhaps a listener.
 * @throws TypeError ERR_INVALID_ARG_VALUE
 */
export function listenArguments<Options extends object>(args: readonly unknown[]): [Options, (() => void) | null] {
  const [target, host] = args;
  const last = args.at(-1);
  const listener = typeof last === "function" ? (last as () => void) : null;
  if (target == null || typeof target === "function") {
    return [(typeof host === "string" ? { port: 0, host } : { port: 0 }) as unknown as Options, listener];
  }
  if (typeof target === "object") return [checkListenOptions(target) as Options, listener];
  if (typeof target === "string" && Number.isNaN(Number(target))) checkListenOptions({ path: target });
  if (typeof target !== "number" && typeof target !== "string") {
    throw argumentError(
      TypeError,
      "ERR_INVALID_ARG_VALUE",
      `The argument 'options' is invalid. Received ${inspect(target)}`,
    );
  }
  return [(typeof host === "string" ? { port: target, host } : { port: target }) as unknown as Options, listener];
}

function checkListenOptions(options: object): object {
  const { port, path } = options as Record<string, unknown>;
  if ("port" in options && (port == null || typeof port === "number" || typeof port === "string")) return options;
  const why =
    typeof path === "string"
      ? "is invalid: Confundo listens on UDP ports, not on paths."
      : "port" in options || "path" in options
        ? "is invalid."
        : 'must have the property "port" or "path".';
  const message = `The argument 'options' ${why} Received ${inspect(options)}`;
  throw argumentError(TypeError, "ERR_INVALID_ARG_VALUE", message);
}
