/**
 * Mutual TLS 1.3 (RFC 8446) over any Duplex. Each side shows a self-signed certificate and proves that it has the key; whether
 * the key is one that is trusted is decided by its pin, by who calls these functions. Nothing else of a certificate counts.
 *
 * As `node:tls` has it, a connection that is cut looks like a regular end: what runs inside needs its own sign of an end.
 */
import { constants } from "node:crypto";
import type { Duplex } from "node:stream";
import {
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  TLSSocket,
} from "node:tls";
import { SecureError } from "./errors.js";
import { type Identity, pinOf } from "./identity.js";
import { MAX_HANDSHAKE_BYTES, MAX_HANDSHAKE_MS } from "./limits.js";
import type { KnownAgain, Resumptions } from "./resumption.js";

/** What is spoken inside, as ALPN (RFC 7301): the mirror protocol, at once or after the pairing exchange. */
export const MIRROR_PROTOCOL = "confundo-mirror/1";
export const PAIR_PROTOCOL = "confundo-pair/1";

export type InnerProtocol = typeof MIRROR_PROTOCOL | typeof PAIR_PROTOCOL;

/** A connection that is encrypted, and whose other end has proved to have its key. */
export interface Secured {
  readonly stream: TLSSocket;
  /** The other end's. */
  readonly pin: string;
  readonly protocol: InnerProtocol;
  /** When the other end has shown its key, if it is known by a secret of that connection, or one that followed it. */
  readonly shownMs: number | undefined;
  /** At the server: the other end was known by a secret that was used before. It must not be let in. */
  readonly reused?: boolean;
}

export interface HandshakeOptions {
  readonly identity: Identity;
  /** Default 10,000. */
  readonly timeoutMs?: number;
}

const ROLES = {
  client: {},
  /**
   * The cipher suite whose hash goes with secrets from outside of TLS (RFC 8446, 4.2.11). The curve is enough, as the secret is
   * as safe as the exchange that it came from; a key share for quantum computers takes 1.2 KB.
   */
  resuming: { ciphers: "TLS_AES_128_GCM_SHA256", ecdhCurve: "X25519" },
  // Without it OpenSSL knows no client again.
  server: { sessionIdContext: "confundo" },
} satisfies Record<string, SecureContextOptions>;

const contexts = new WeakMap<Identity, { [role in keyof typeof ROLES]?: SecureContext }>();

/**
 * The client's side. Takes the Duplex over: it is destroyed with the stream, or when this rejects with a SecureError (ERR_TLS, or
 * what `check` throws). Nothing is sent but the handshake before `check` has seen the server's pin.
 */
export function secureClient(
  duplex: Duplex,
  options: HandshakeOptions & { readonly protocol: InnerProtocol; readonly check: (pin: string) => void },
): Promise<Secured> {
  const { identity, protocol, check } = options;
  const stream = connectTls({
    socket: duplex,
    secureContext: contextOf(identity, "client"),
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
  });
  return handshake(duplex, stream, "secureConnect", options, () => {
    const pin = shownPin(stream);
    check(pin);
    return { pin, shownMs: undefined };
  });
}

/**
 * As {@link secureClient}, to a server with which a secret is shared, by which it is known. Rejects with a
 * SecureError ERR_TLS where the server does not have the secret (any more): then keys have to be shown.
 */
export function resumeClient(
  duplex: Duplex,
  options: HandshakeOptions & {
    readonly protocol: InnerProtocol;
    readonly resumption: KnownAgain;
  },
): Promise<Secured> {
  const { identity, protocol, resumption } = options;
  const stream = connectTls({
    socket: duplex,
    secureContext: contextOf(identity, "resuming"),
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
    pskCallback: () => ({ identity: resumption.id, psk: resumption.secret }),
  });
  return handshake(duplex, stream, "secureConnect", options, () => {
    if (!stream.isSessionReused())
      throw new SecureError("ERR_TLS", "The server does not know this device by a secret.");
    return { pin: resumption.pin, shownMs: resumption.shownMs };
  });
}

/**
 * The server's side. Rejects with a SecureError ERR_TLS, or ERR_UNAUTHENTICATED for a client without a key. A client that was
 * here may be known by one of the `resumptions`.
 */
export function secureServer(
  duplex: Duplex,
  options: HandshakeOptions & { readonly resumptions?: Resumptions },
): Promise<Secured> {
  const { identity, resumptions } = options;
  let known: KnownAgain | undefined;
  const stream = new TLSSocket(duplex, {
    isServer: true,
    secureContext: contextOf(identity, "server"),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: [MIRROR_PROTOCOL, PAIR_PROTOCOL],
    // A secret that is not known counts for nothing, and the handshake goes on with keys.
    pskCallback: (_: unknown, id: string) => {
      known = resumptions?.find(id);
      return known?.secret ?? null;
    },
  } as ConstructorParameters<typeof TLSSocket>[1]);
  // `node:tls` leaves errors of a server's stream, and of what is below it, to its tls.Server. There is none here.
  stream.on("_tlsError", (error: Error) => stream.destroy(error));
  return handshake(duplex, stream, "secure", options, () => {
    // Whoever names a secret may still go on without it: only a handshake that was made with it shows that it is known.
    if (known !== undefined && stream.isSessionReused()) {
      const use = resumptions?.use(known);
      if (use === "forgotten") throw new SecureError("ERR_TLS", "The secret was forgotten during the handshake.");
      return { pin: known.pin, shownMs: known.shownMs, reused: use === "reused" };
    }
    return { pin: shownPin(stream), shownMs: undefined };
  });
}

function handshake(
  duplex: Duplex,
  stream: TLSSocket,
  done: "secure" | "secureConnect",
  { timeoutMs = MAX_HANDSHAKE_MS }: HandshakeOptions,
  identify: () => Pick<Secured, "pin" | "shownMs" | "reused">,
): Promise<Secured> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const fail = (error: unknown): void => {
      cleanUp();
      const failure =
        error instanceof SecureError
          ? error
          : new SecureError("ERR_TLS", `The TLS handshake failed: ${reasonOf(error)}.`, { cause: error });
      stream.on("error", () => {}).destroy(failure);
      // It says nothing more, whether TLS is done with it or not.
      if (!duplex.destroyed) duplex.destroy(failure);
      reject(failure);
    };
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > MAX_HANDSHAKE_BYTES) fail(new Error(`it is longer than ${MAX_HANDSHAKE_BYTES} bytes`));
    };
    const close = (): void => fail(duplex.errored ?? new Error("the connection ended in its middle"));
    const timer = setTimeout(() => fail(new Error(`it took longer than ${timeoutMs / 1000} s`)), timeoutMs);
    const cleanUp = (): void => {
      clearTimeout(timer);
      duplex.off("data", count);
      stream.off("error", fail).off("close", close).off(done, finish).off("end", close);
    };
    const finish = (): void => {
      try {
        const secured = { stream, ...identify(), protocol: protocolOf(stream) };
        cleanUp();
        // Until somebody has taken it over, and after they have let go of it, an error must not end the process.
        stream.on("error", () => {});
        resolve(secured);
      } catch (error) {
        fail(error);
      }
    };
    duplex.on("data", count);
    stream.on("error", fail).once("close", close).once("end", close).once(done, finish);
  });
}

function shownPin(stream: TLSSocket): string {
  const certificate = stream.getPeerX509Certificate();
  if (certificate === undefined) throw new SecureError("ERR_UNAUTHENTICATED", "The other end showed no key.");
  return pinOf(certificate.publicKey);
}

function protocolOf({ alpnProtocol }: TLSSocket): InnerProtocol {
  if (alpnProtocol === MIRROR_PROTOCOL || alpnProtocol === PAIR_PROTOCOL) return alpnProtocol;
  throw new SecureError("ERR_TLS", "The other end speaks TLS, but not the mirror protocol in it.");
}

/** TLS's own tickets are larger than our secrets, and hold certificates: next to nothing is sent of them. */
function contextOf(identity: Identity, role: keyof typeof ROLES): SecureContext {
  const known = contexts.get(identity) ?? {};
  contexts.set(identity, known);
  const { key, cert } = identity;
  const secureOptions = constants.SSL_OP_NO_TICKET;
  known[role] ??= createSecureContext({ key, cert, minVersion: "TLSv1.3", secureOptions, ...ROLES[role] });
  return known[role];
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    return "the other end does not speak TLS (is it an older confundo, or one with --insecure?)";
  }
  return message.replace(/[.\n]+$/, "");
}
