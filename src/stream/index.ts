export { type ConnectOptions, connect } from "./connect.js";
export { ConfundoError, type ConfundoErrorCode } from "./errors.js";
export { ConfundoServer, createServer, type ListenOptions, type ServerOptions } from "./server.js";
export { type AddressInfo, ConfundoSocket, type SocketOptions } from "./socket.js";
