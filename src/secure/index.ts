/** Keys, pins and pairing: who is at the other end of a connection, and nobody else. */
export type { CertificateOptions } from "./certificate.js";
export { selfSigned } from "./certificate.js";
export { createCode, formatPairingCode, isCode, isPin, type PairingCode, parsePairingCode } from "./code.js";
export { connectSecurely, type SecureConnectOptions } from "./connect.js";
export { DeviceState, type KnownServer } from "./device.js";
export { SecureError, type SecureErrorCode } from "./errors.js";
export { answerPairing, askToPair, type PairRequest, pairRequest } from "./exchange.js";
export { createSecret, ownFolder, readSecret, stateFolder, writeSecret } from "./files.js";
export { createIdentity, type Identity, type IdentityOptions, identityFromKey, pinOf } from "./identity.js";
export { announceLocally, isLoopback, localCode } from "./local.js";
export { type KnownAgain, type Resumption, Resumptions, resumptionOf } from "./resumption.js";
export {
  type HandshakeOptions,
  type InnerProtocol,
  MIRROR_PROTOCOL,
  PAIR_PROTOCOL,
  resumeClient,
  type Secured,
  secureClient,
  secureServer,
} from "./tls.js";
