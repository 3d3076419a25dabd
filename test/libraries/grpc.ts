import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";
import { connect } from "confundo";
import { close, HOST, listen } from "./support.ts";

const PATH = "/test.Echo/Say";
const asIs = (bytes: Buffer): Buffer => bytes;
const service: ServiceDefinition = {
  say: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
};
const grpc = new Server();
grpc.addService(service, {
  say: (call: { request: Buffer }, callback: (error: null, answer: Buffer) => void) => callback(null, call.request),
});
const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
const [server, port] = await listen((socket) => injector.injectConnection(socket));

// The client's half of the package makes its sockets itself: a call is made over node:http2, which does not.
const session = http2.connect(`http://${HOST}:${port}`, { createConnection: () => connect({ port, host: HOST }) });
const request = Buffer.from("hello");
const frame = Buffer.alloc(5 + request.length);
frame.writeUInt32BE(request.length, 1);
frame.set(request, 5);
const call = session.request({
  ":method": "POST",
  ":path": PATH,
  "content-type": "application/grpc",
  te: "trailers",
});
const trailing = once(call, "trailers");
call.end(frame);
const answer = Buffer.concat(await call.toArray());
const [trailers] = (await trailing) as [http2.IncomingHttpHeaders];
assert.equal(trailers["grpc-status"], "0");
assert.deepEqual(answer, frame);
session.close();
await once(session, "close");
injector.destroy();
await close(server);
grpc.forceShutdown();
