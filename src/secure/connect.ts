/** A client's way to a mirror's home: Confundo, TLS, the server's key checked, and paired where that is needed. */
import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { type ConfundoSocket, type ConnectOptions, connect } from "../stream/index.js";
import { parsePairingCode } from "./code.js";
import { DeviceState, type KnownServer } from "./device.js";
import { SecureError } from "./errors.js";
import { askToPair } from "./exchange.js";
import { isLoopback, localCode } from "./local.js";
import { type KnownAgain, resumptionOf } from "./resumption.js";
import { MIRROR_PROTOCOL, PAIR_PROTOCOL, resumeClient, secureClient } from "./tls.js";

/** As of `connect()`, which speaks the extended edition only here. */
export interface SecureConnectOptions extends Omit<ConnectOptions, "extended" | "edition"> {
  /** What stands behind the `#` of a pairing address. Needed once; later it does no harm. */
  readonly code?: string | undefined;
  /** Where the device's key and the known servers are kept. Default: the user's own. */
  readonly state?: DeviceState | undefined;
  /** The device's name at the server, from now on. Default: that of its host when it pairs, and then as it is. */
  readonly deviceName?: string | undefined;
  /** Is given the connection below TLS, for its statistics. */
  readonly onSocket?: ((socket: ConfundoSocket) => void) | undefined;
}

/** A server, how it is to be recognised, and what it is asked for. */
interface Attempt {
  readonly host: string;
  readonly port: number;
  readonly state: DeviceState;
  readonly known: KnownServer | undefined;
  /** The pairing code to be used, and its server's pin. */
  readonly invited: { readonly code: string; readonly pin: string; readonly hash: string } | undefined;
  readonly deviceName: string | undefined;
}

/**
 * Connects to a server, checks that it is the one that is known (or that the code names), and resolves with the encrypted
 * stream when the mirror protocol may begin. A server of the same user on this machine is paired with without a code.
 *
 * Rejects with a {@link SecureError}: ERR_SERVER_KEY (another key than before), ERR_NOT_PAIRED, ERR_CODE (bad, used or expired),
 * ERR_STATE, ERR_TLS and what the server refuses with; or with a ConfundoError as `connect` does.
 */
export async function connectSecurely(options: SecureConnectOptions): Promise<TLSSocket> {
  const { code, state = new DeviceState(), deviceName, onSocket, ...connectOptions } = options;
  const { host = "localhost", port } = options;
  const known = state.known(host, port);
  const invited = code === undefined ? undefined : invitation(code);
  const used = known?.pin === invited?.pin && known?.codeHash === invited?.hash && known?.device === state.identity.pin;
  const attempt: Attempt = { host, port, state, known, invited: used ? undefined : invited, deviceName };
  const open = async (): Promise<ConfundoSocket> => {
    const socket = connect({ ...connectOptions, noDelay: true, extended: "required" });
    onSocket?.(socket);
    return connected(socket);
  };
  const renames = deviceName !== undefined && deviceName !== known?.name;
  // Here a round trip costs nothing, and tells whether the server still knows this device.
  const asks = attempt.invited !== undefined || renames || isLoopback(host);
  if (known === undefined && attempt.invited === undefined && !isLoopback(host)) throw notPaired(host, port);
  let socket = await open();
  // A secret is taken when there is somebody to show it to: it is good once.
  const resumption = attempt.invited === undefined && !renames ? state.takeResumption(host, port, known) : undefined;
  if (resumption !== undefined) {
    const stream = await resume(socket, resumption, attempt);
    if (stream !== undefined) return stream;
    socket = await open();
  }
  const { stream, pin } = await secureClient(socket, {
    identity: state.identity,
    protocol: asks ? PAIR_PROTOCOL : MIRROR_PROTOCOL,
    check: (pin) => checkPin(pin, attempt),
  });
  if (asks) await pair(stream, pin, attempt);
  state.keepResumption(host, port, { ...resumptionOf(stream), pin, shownMs: Date.now() });
  return stream;
}

/** Nothing where the server has forgotten what was agreed on, as when it was started anew: then keys are shown. */
async function resume(
  socket: ConfundoSocket,
  resumption: KnownAgain,
  { host, port, state }: Attempt,
): Promise<TLSSocket | undefined> {
  try {
    const { stream } = await resumeClient(socket, {
      identity: state.identity,
      protocol: MIRROR_PROTOCOL,
      resumption,
    });
    state.keepResumption(host, port, { ...resumption, ...resumptionOf(stream) });
    return stream;
  } catch {
    return undefined;
  }
}

function invitation(text: string): Attempt["invited"] {
  const { code, pin } = parsePairingCode(text);
  return { code, pin, hash: createHash("sha256").update(code).digest("hex") };
}

function checkPin(pin: string, { host, port, state, known, invited }: Attempt): void {
  if (invited !== undefined) {
    if (pin === invited.pin) return;
    throw new SecureError(
      "ERR_SERVER_KEY",
      `The server at ${host}:${port} does not have the key that the pairing address names. Either the address is of another ` +
        "server, or somebody is between here and there. Nothing was sent. Ask for a new address from the server itself.",
    );
  }
  if (pin === known?.pin) return;
  // A server of this user on this machine vouches for itself by a file that nobody else can write.
  if (isLoopback(host) && localCode(pin, state.folder) !== undefined) return;
  if (known === undefined) throw notPaired(host, port);
  throw new SecureError(
    "ERR_SERVER_KEY",
    `The server at ${host}:${port} has another key than before (it was ${known.pin}, and is ${pin}). Either it was set up anew, ` +
      "or somebody is between here and there and wants your files. Nothing was sent. Ask whoever runs the server; if the change is " +
      "meant, `confundo invite` there prints a new pairing address, and mirroring to that once is all it takes.",
  );
}

async function pair(stream: TLSSocket, pin: string, attempt: Attempt): Promise<void> {
  const { host, port, state, known, invited, deviceName } = attempt;
  const code = invited?.code ?? (isLoopback(host) ? localCode(pin, state.folder) : undefined) ?? null;
  try {
    await askToPair(stream, { code, name: deviceName ?? state.name, rename: deviceName !== undefined });
  } catch (error) {
    stream.on("error", () => {}).destroy();
    throw error;
  }
  const device = state.identity.pin;
  const before = known?.pin === pin && known.device === device ? known : undefined;
  const name = deviceName ?? before?.name;
  const named = name === undefined ? {} : { name };
  if (invited !== undefined) state.remember(host, port, { pin, device, codeHash: invited.hash, ...named });
  else if (before === undefined || name !== before.name)
    state.remember(host, port, { ...before, pin, device, ...named });
}

function notPaired(host: string, port: number): SecureError {
  return new SecureError(
    "ERR_NOT_PAIRED",
    `The server at ${host}:${port} is not known here yet. Run \`confundo invite NAME\` on the server, and mirror to the address ` +
      "that it prints.",
  );
}

/** So that what keeps a connection from being made is told as what it is. */
function connected(socket: ConfundoSocket): Promise<ConfundoSocket> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => () => {
      socket.off("connect", done).off("error", failed).off("close", closed);
      act();
    };
    const done = settle(() => resolve(socket));
    const failed = (error: Error): void => settle(() => reject(error))();
    const closed = settle(() => reject(new SecureError("ERR_TLS", "The connection was closed before it stood.")));
    socket.once("connect", done).once("error", failed).once("close", closed);
  });
}
