// A worker of node:cluster that listens on PORT and tells its primary the port, or what failed.
import { createServer } from "confundo";

const server = createServer();
server.on("listening", () => process.send(server.address().port));
server.on("error", (error) => process.send(error.message));
server.listen(Number(process.env.PORT), "127.0.0.1");
