/**
 * The way from a Confundo connection to a session: TLS, the device's key, pairing where it is asked for. Who has not shown yet
 * who they are costs little: so many at once, so many bytes, so long.
 */
import { timingSafeEqual } from "node:crypto";
import {
  answerPairing,
  type Identity,
  isLoopback,
  PAIR_PROTOCOL,
  pairRequest,
  Resumptions,
  type Secured,
  SecureError,
  secureServer,
} from "../secure/index.js";
import type { ConfundoSocket } from "../stream/index.js";
import { encode, SyncError } from "../sync/index.js";
import { Admission } from "./admission.js";
import { addressKey } from "./auth/rate-limit.js";
import type { Auth, Peer, Principal } from "./auth/types.js";
import type { Access } from "./database/types.js";
import type { Visitor } from "./home.js";
import { type LimitCounters, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS } from "./limits.js";
import { Shares } from "./shares.js";

type DevicePrincipal = Principal & { kind: "device" };

export interface GateOptions {
  readonly identity: Identity;
  readonly auth: Auth;
  /** What programs of the server's user on this machine pair with. */
  readonly localCode: string;
  /** Takes the connection of a device that is let in. */
  readonly admit: (secured: Secured, visitor: Visitor) => void;
  /** Connections that came to nothing, for the log. */
  readonly onRefused?: (peer: string, error: { readonly code: string; readonly message: string }) => void;
  /** For the handshake, and for the pairing exchange. Milliseconds, default 10,000. */
  readonly timeoutMs?: number;
  /** Counts what the limits refuse. */
  readonly limits?: LimitCounters;
  /** The mean delay of the event loop, in milliseconds: newcomers wait while it is long. Default: nobody does. */
  readonly delayMs?: () => number;
}

/** A refusal leaves within this, or not at all. */
const REFUSAL_MS = 2000;

export class Gate {
  readonly #options: GateOptions;
  readonly #guests: Guests;
  readonly #sessions: Shares;
  readonly #admission: Admission;
  readonly #resumptions = new Resumptions();
  #closed = false;

  constructor(options: GateOptions) {
    this.#options = options;
    this.#guests = new Guests(options.limits);
    this.#sessions = new Shares("sessions", options.limits);
    const { limits, delayMs = () => 0 } = options;
    this.#admission = new Admission({ delayMs, onRefused: () => limits?.add("admission") });
  }

  /** Connections that have not shown yet who they are. */
  get guests(): number {
    return this.#guests.size;
  }

  /** Takes the connection over. Never throws. */
  enter(socket: ConfundoSocket): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    const { remoteAddress: address = "", remotePort = 0 } = socket;
    const peer = `${address}:${remotePort}`;
    const leave = this.#guests.add(addressKey(address), (reason) => socket.destroy(reason));
    this.#receive(socket, { address }, peer)
      .catch((error: unknown) => {
        const { code, message } = refusalOf(error);
        socket.on("error", () => {}).destroy();
        this.#options.onRefused?.(peer, { code, message });
      })
      .finally(leave);
  }

  /** Who comes back has to show its key, as if it was not here before. */
  forget(): void {
    this.#resumptions.clear();
  }

  /** Ends those that have not shown yet who they are, and takes no more. */
  close(): void {
    this.#closed = true;
    this.#admission.close();
    this.#guests.clear(new SecureError("ERR_TLS", "the server is closing"));
  }

  async #receive(socket: ConfundoSocket, from: Peer, peer: string): Promise<void> {
    const { identity, timeoutMs, auth, admit } = this.#options;
    const resumptions = this.#resumptions;
    const admitted = this.#admission.enter();
    if (admitted !== true && !(await admitted)) {
      throw new SecureError("ERR_TLS", "the server is busy with those that it serves; come back later");
    }
    if (socket.destroyed) throw new SecureError("ERR_TLS", "the client did not wait");
    const limits = timeoutMs === undefined ? {} : { timeoutMs };
    const secured = await secureServer(socket, { identity, resumptions, ...limits });
    try {
      if (secured.reused) {
        await auth.resumptionReused(secured.pin, from);
        throw new SyncError(
          "ERR_RESUMPTION_REUSED",
          "the secret for connecting again was used before, so a copy of it was stolen; connect with the device's key",
        );
      }
      const principal =
        secured.protocol === PAIR_PROTOCOL ? await this.#pair(secured, from) : await auth.device(secured.pin, from);
      resumptions.remember(secured.stream, secured.pin, secured.shownMs);
      const leave = this.#sessions.enter({
        administrator: principal.role === "admin",
        device: principal.id,
        address: addressKey(from.address),
      });
      if (typeof leave !== "function") {
        const why = "the server has as many sessions as it can bear, or as this device or its address may have";
        throw new SyncError("ERR_TOO_MANY", `${why}; close some`);
      }
      socket.admit();
      const visitor = { peer, device: principal.id, stats: () => socket.stats, leave };
      // Once more who it is: what was revoked before the session stood is refused here, and what is later ends the session.
      const access = async (folder: string) => accessOf(auth, await known(auth, secured.pin, from), folder);
      admit(secured, { ...visitor, access });
    } catch (error) {
      await sayRefusal(secured, refusalOf(error));
      throw error;
    }
  }

  async #pair({ stream, pin }: Secured, from: Peer): Promise<DevicePrincipal> {
    const { auth, timeoutMs } = this.#options;
    const { code, name, rename } = await pairRequest(stream, timeoutMs);
    const device = { name, pin };
    const principal =
      code === null
        ? await auth.device(pin, from)
        : isLoopback(from.address) && equal(code, this.#options.localCode)
          ? await auth.pairLocal(device, from)
          : await auth.pair(code, device, from);
    if (rename) await auth.rename(principal, name, from);
    answerPairing(stream);
    return principal;
  }
}

async function known(auth: Auth, pin: string, from: Peer): Promise<Principal> {
  return auth.device(pin, from).catch((error) => Promise.reject(refusalOf(error)));
}

async function accessOf(auth: Auth, who: Principal, folder: string): Promise<Access | null> {
  try {
    if (await auth.may(who, folder, "write")) return "write";
    return (await auth.may(who, folder, "read")) ? "read" : null;
  } catch (error) {
    throw refusalOf(error);
  }
}

/** What the other end is told. Of what went wrong inside it hears only that it may try again. */
function refusalOf(error: unknown): SyncError {
  const { name, code, message } = error as Error & { readonly code?: string };
  if (error instanceof SyncError) return error;
  if ((name === "AuthError" || name === "SecureError") && code !== undefined) return new SyncError(code, message);
  const told = name === "DatabaseError" ? "the server cannot look up just now who this is" : "the server failed";
  return new SyncError("ERR_UNAVAILABLE", told, { cause: error });
}

/** In the words of what the client speaks: the pairing exchange, or the mirror protocol. */
async function sayRefusal({ stream, protocol }: Secured, refusal: SyncError): Promise<void> {
  if (stream.destroyed || refusal.code === "ERR_TLS") return;
  const { code, message } = refusal;
  if (protocol === PAIR_PROTOCOL) answerPairing(stream, { code, message });
  else stream.write(encode({ type: "error", code, message: message.slice(0, 500) }));
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, REFUSAL_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    // Until the client has taken it and gone, so that nothing cuts it short.
    stream.once("close", done).once("error", done).once("end", done).resume().end();
  });
}

function equal(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** A bounded table. Where it is full the one that has been there for longest goes: an honest one needs a few round trips. */
class Guests {
  readonly #limits: LimitCounters | undefined;
  readonly #all = new Map<symbol, { readonly key: string; readonly end: (reason: Error) => void }>();
  readonly #perKey = new Map<string, Set<symbol>>();

  constructor(limits?: LimitCounters) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Returns what takes it out again. */
  add(key: string, end: (reason: Error) => void): () => void {
    const id = Symbol();
    const same = this.#perKey.get(key) ?? new Set();
    this.#perKey.set(key, same.add(id));
    this.#all.set(id, { key, end });
    const perAddress = same.size > MAX_HANDSHAKES_PER_ADDRESS;
    const crowded = perAddress ? same : this.#all.size > MAX_HANDSHAKES ? this.#all.keys() : [];
    for (const oldest of crowded) {
      this.#limits?.add(perAddress ? "handshakesPerAddress" : "handshakes");
      this.#all.get(oldest)?.end(new SecureError("ERR_TLS", "too many connections that do not say who they are"));
      this.#remove(oldest);
      break;
    }
    return () => this.#remove(id);
  }

  clear(reason: Error): void {
    for (const [id, { end }] of this.#all) {
      end(reason);
      this.#remove(id);
    }
  }

  #remove(id: symbol): void {
    const key = this.#all.get(id)?.key;
    if (key === undefined) return;
    this.#all.delete(id);
    const same = this.#perKey.get(key);
    same?.delete(id);
    if (same?.size === 0) this.#perKey.delete(key);
  }
}
