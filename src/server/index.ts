/** The mirrors' home. */

export { isWildcard, reachableAddresses } from "./addresses.js";
export { type AuthOptions, createAuth } from "./auth/auth.js";
export { AuthError, type AuthErrorCode } from "./auth/errors.js";
export type * from "./auth/types.js";
export { DatabaseError, type DatabaseErrorCode } from "./database/errors.js";
export { MAX_PAGE } from "./database/journal.js";
export { type DatabaseOptions, openDatabase } from "./database/open.js";
export type * from "./database/types.js";
export { versionCursor } from "./database/versions.js";
export { answerDeletes, type DeletesAnswer, HeldDeletesFiles, requireHeld } from "./held-deletes.js";
export { type HomeEvent, type HomeSession, MirrorHome, type MirrorHomeOptions, type Visitor } from "./home.js";
export { isNetwork } from "./http/client-address.js";
export type * from "./http/index.js";
export { LimitCounters, type LimitName } from "./limits.js";
export { mirrorNameProblem } from "./name.js";
export { type FirstStart, formatAddress, type ServeOptions, type Serving, serve } from "./serve.js";
export { type HomeSettings, HomeState } from "./state.js";
export { Desk } from "./versions/desk.js";
export { VersionError, type VersionErrorCode } from "./versions/errors.js";
export { Keeper, type KeeperOptions } from "./versions/keeper.js";
export { type Keep, parseKeep } from "./versions/prune.js";
export type { Limits } from "./versions/quota.js";
export type { Reindexed } from "./versions/reindex.js";
export type { Restored, RestoreRequest } from "./versions/restore.js";
export { parseThinning, type Thinning } from "./versions/thin.js";
