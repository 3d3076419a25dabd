/**
 * Mutual TLS 1.3 (RFC 8446) over any Duplex. Each side shows a self-signed certificate and proves that it has the key; whether
 * the key is one that is trusted is decided by its pin, by who calls these functions. Nothing else of a certificate counts.
 *
 * As `node:tls` has it, a connection that is cut looks like a regular end: what runs inside needs its own sign of an end.
 */
import type { Duplex } from "node:stream";
import { connect as connectTls, createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { SecureError } from "./errors.js";
import { type Identity, pinOf } from "./identity.js";

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
}

export interface HandshakeOptions {
  readonly identity: Identity;
  /** Default 10,000. */
  readonly timeoutMs?: number;
}

const HANDSHAKE_MS = 10_000;
/** A handshake of ours is about 1.5 KiB either way. */
const MAX_HANDSHAKE_BYTES = 32 * 1024;

const contexts = new WeakMap<Identity, SecureContext>();

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
    secureContext: contextOf(identity),
    rejectUnauthorized: false,
    ALPNProtocols: [protocol],
  });
  return handshake(duplex, stream, "secureConnect", options, ({ pin }) => check(pin));
}

/** The server's side. Rejects with a SecureError ERR_TLS, or ERR_UNAUTHENTICATED for a client without a key. */
export function secureServer(duplex: Duplex, options: HandshakeOptions): Promise<Secured> {
  const stream = new TLSSocket(duplex, {
    isServer: true,
    secureContext: contextOf(options.identity),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: [MIRROR_PROTOCOL, PAIR_PROTOCOL],
  });
  // `node:tls` leaves errors of a server's stream, and of what is below it, to its tls.Server. There is none here.
  stream.on("_tlsError", (error: Error) => stream.destroy(error));
  return handshake(duplex, stream, "secure", options, () => {});
}

function handshake(
  duplex: Duplex,
  stream: TLSSocket,
  done: "secure" | "secureConnect",
  { timeoutMs = HANDSHAKE_MS }: HandshakeOptions,
  check: (secured: Secured) => void,
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
        const secured = securedOf(stream);
        check(secured);
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

function securedOf(stream: TLSSocket): Secured {
  const certificate = stream.getPeerX509Certificate();
  if (certificate === undefined) throw new SecureError("ERR_UNAUTHENTICATED", "The other end showed no key.");
  const protocol = stream.alpnProtocol;
  if (protocol !== MIRROR_PROTOCOL && protocol !== PAIR_PROTOCOL) {
    throw new SecureError("ERR_TLS", "The other end speaks TLS, but not the mirror protocol in it.");
  }
  return { stream, pin: pinOf(certificate.publicKey), protocol };
}

/** Tickets would only be more bytes: a new handshake takes as many round trips, and asks for the key again. */
function contextOf(identity: Identity): SecureContext {
  const known = contexts.get(identity);
  if (known !== undefined) return known;
  const { key, cert } = identity;
  const context = createSecureContext({ key, cert, minVersion: "TLSv1.3" });
  contexts.set(identity, context);
  return context;
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    return "the other end does not speak TLS (is it an older confundo, or one with --insecure?)";
  }
  return message.replace(/[.\n]+$/, "");
}
