/** REST, WebSocket, metrics and the dashboard's files. */
export { type ApiOptions, type App, createApi } from "./api.js";
export { EventHub, type HubOptions } from "./hub.js";
export { type HttpOptions, type HttpServing, startHttp } from "./listen.js";
export type {
  ConnectionFigures,
  Expected,
  FolderStorage,
  LiveSession,
  LiveTransfer,
  Mirrors,
  OpenFile,
  Restored,
  RestoreRequest,
  Upload,
} from "./mirrors.js";
export { Problem, type ProblemCode, type ProblemDetails } from "./problem.js";
