export { connect, createConnection } from "./connect.js";
export { ConfundoError, type ConfundoErrorCode } from "./errors.js";
export { type ReceiveBudgetStats, receiveBudget, setReceiveBudget } from "./receive-budget.js";
export { ConfundoServer, ConfundoServer as Server, createServer } from "./server.js";
export type { ListenOptions, ServerDrops, ServerOptions, ServerStats, StatelessResetCounts } from "./server-options.js";
export { ConfundoSocket, ConfundoSocket as Socket } from "./socket.js";
export type {
  AddressInfo,
  ConnectOptions,
  OnReadOptions,
  SocketConstructorOptions,
  SocketOptions,
  SocketStats,
} from "./socket-options.js";
