export { connect, createConnection } from "./connect.js";
export { ConfundoError, type ConfundoErrorCode } from "./errors.js";
export {
  ConfundoServer,
  ConfundoServer as Server,
  createServer,
  type ListenOptions,
  type ServerOptions,
  type ServerStats,
} from "./server.js";
export { ConfundoSocket, ConfundoSocket as Socket } from "./socket.js";
export type {
  AddressInfo,
  ConnectOptions,
  OnReadOptions,
  SocketConstructorOptions,
  SocketOptions,
  SocketStats,
} from "./socket-options.js";
