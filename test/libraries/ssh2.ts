import assert from "node:assert/strict";
import { once } from "node:events";
import ssh2 from "ssh2";
import { close, dial, listen } from "./support.ts";

const { private: hostKey } = ssh2.utils.generateKeyPairSync("ed25519");
const ssh = new ssh2.Server({ hostKeys: [hostKey] }, (client) => {
  client.on("authentication", (context) => context.accept());
  client.on("session", (acceptSession) => {
    acceptSession().on("exec", (acceptExec, _reject, { command }) => {
      const channel = acceptExec();
      channel.write(command);
      channel.exit(7);
      channel.end();
    });
  });
  client.on("error", (error) => assert.fail(error));
});
const [server, port] = await listen((socket) => ssh.injectSocket(socket));
const client = new ssh2.Client();
client.connect({ sock: await dial(port), username: "anybody", password: "anything" });
await once(client, "ready");
const [output, code] = await new Promise<[string, number]>((resolve, reject) => {
  client.exec("hello", (error, channel) => {
    if (error !== undefined) return reject(error);
    let text = "";
    let exitCode = -1;
    channel.on("data", (bytes: Buffer) => {
      text += bytes;
    });
    channel.on("exit", (status: number) => {
      exitCode = status;
    });
    channel.on("close", () => resolve([text, exitCode]));
  });
});
assert.deepEqual([output, code], ["hello", 7]);
client.end();
await once(client, "close");
await close(server);
