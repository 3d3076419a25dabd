/**
 * The pairing exchange, inside TLS and before the mirror protocol: one request of the client, one answer of the server, each a
 * length (2 bytes, big-endian) and so many bytes of JSON.
 *
 *     client: {"code": CODE or null, "name": DEVICE, "rename": true where the name was chosen}
 *     server: {"ok": true} or {"code": ERR_…, "message": …}
 *
 * Without a code it asks whether the server knows the device. What follows the request and the answer is the mirror protocol.
 */
import type { Duplex } from "node:stream";
import { isCode } from "./code.js";
import { SecureError } from "./errors.js";
import { MAX_PAIRING_ANSWER_BYTES, MAX_PAIRING_MS, MAX_PAIRING_REQUEST_BYTES } from "./limits.js";

export interface PairRequest {
  /** Null: the device should be known already. */
  readonly code: string | null;
  /** For people. */
  readonly name: string;
  /** Whether the device takes this name even if the server knows it by another. Default false. */
  readonly rename?: boolean;
}

const LENGTH_BYTES = 2;
const MAX_NAME_CHARACTERS = 64;

/** The client's side. Rejects with a SecureError: what the server says, or ERR_TLS where it does not answer properly. */
export async function askToPair(
  stream: Duplex,
  request: PairRequest,
  timeoutMs: number = MAX_PAIRING_MS,
): Promise<void> {
  const name = [...request.name].slice(0, MAX_NAME_CHARACTERS).join("");
  const { code: asked, rename = false } = request;
  stream.write(frame({ code: asked, name, ...(rename ? { rename } : {}) }));
  const answer = await readFrame(stream, MAX_PAIRING_ANSWER_BYTES, timeoutMs);
  if (answer.ok === true) return;
  const { code, message } = answer;
  if (typeof code !== "string" || !/^ERR_[A-Z_]{1,40}$/.test(code) || typeof message !== "string") {
    throw new SecureError("ERR_TLS", "The server's answer to the pairing is not one of this protocol.");
  }
  throw new SecureError(code, message);
}

/** The server's side: what the client asks for. Rejects with a SecureError ERR_TLS. */
export async function pairRequest(stream: Duplex, timeoutMs: number = MAX_PAIRING_MS): Promise<PairRequest> {
  const { code, name, rename } = await readFrame(stream, MAX_PAIRING_REQUEST_BYTES, timeoutMs);
  if ((code !== null && (typeof code !== "string" || !isCode(code))) || typeof name !== "string") {
    throw new SecureError("ERR_TLS", "The pairing request is not one of this protocol.");
  }
  return { code, name: [...name].slice(0, MAX_NAME_CHARACTERS).join(""), rename: rename === true };
}

/** The server's answer. */
export function answerPairing(stream: Duplex, refusal?: { readonly code: string; readonly message: string }): void {
  stream.write(
    frame(refusal === undefined ? { ok: true } : { code: refusal.code, message: refusal.message.slice(0, 500) }),
  );
}

function frame(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(json.length);
  return Buffer.concat([length, json]);
}

/** Takes one frame, and not a byte more, from the stream. Only `most` bytes are ever waited for. */
function readFrame(stream: Duplex, most: number, timeoutMs: number): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    let length: number | undefined;
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      stream.off("readable", onReadable).off("end", onEnd).off("close", onEnd).off("error", onEnd);
      act();
    };
    const fail = (reason: string, cause?: unknown): void =>
      settle(() => reject(new SecureError("ERR_TLS", `The pairing failed: ${reason}.`, { cause })));
    const onEnd = (cause?: unknown): void => fail("the connection ended in its middle", cause);
    const onReadable = (): void => {
      if (length === undefined) {
        const head = stream.read(LENGTH_BYTES) as Buffer | null;
        if (head === null) return;
        length = head.length < LENGTH_BYTES ? 0 : head.readUInt16BE(0);
      }
      if (length === 0 || length > most) {
        fail(`a message of ${length} bytes, where ${most} is the most`);
        return;
      }
      const body = stream.read(length) as Buffer | null;
      if (body === null) return;
      const value = parse(body);
      if (value === undefined) fail("a message that is no JSON object");
      else settle(() => resolve(value));
    };
    const timer = setTimeout(() => fail(`no message within ${timeoutMs / 1000} s`), timeoutMs);
    stream.on("readable", onReadable).once("end", onEnd).once("close", onEnd).once("error", onEnd);
    onReadable();
  });
}

function parse(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
