export { type ConnectOptions, connect } from "./connect.js";
export { ConfundoError, type ConfundoErrorCode } from "./errors.js";
export { ConfundoServer, createServer, type ListenOptions, type ServerOptions, type ServerStats } from "./server.js";
export { ConfundoSocket } from "./socket.js";
export type { AddressInfo, SocketOptions, SocketStats } from "./socket-options.js";
