import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Runs a program of the built package in a process of its own until it ends by itself. */
async function run(program: string): Promise<{ code: number; output: string }> {
  const script = `import { connect, createServer } from "confundo"; import { once } from "node:events";
    const began = performance.now(); const elapsed = () => performance.now() - began;
    const server = createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    ${program}`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { cwd: ROOT });
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { code, output: output + errors };
}

describe("a process", () => {
  it("ends after close, without waiting for FIN-WAIT", async () => {
    const { code, output } = await run(`
      const client = connect(port, "127.0.0.1").resume();
      client.end("x");
      await once(client, "close");
      server.close();
      process.on("exit", () => console.log(elapsed() < 2000 ? "at once" : "late"));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "at once\n" });
  });

  it("waits for FIN-WAIT with finWait: foreground", async () => {
    const { code, output } = await run(`
      const client = connect({ port, host: "127.0.0.1", finWait: "foreground" }).resume();
      client.end("x");
      server.unref();
      process.on("exit", () => console.log(elapsed() >= 2000 ? "after 2 s" : "early"));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "after 2 s\n" });
  });

  it("is not kept alive by an unref'd server and socket", async () => {
    const { code, output } = await run(`
      const client = connect(port, "127.0.0.1");
      await once(client, "connect");
      console.log(client.unref() === client, server.unref() === server);
      server.on("connection", (socket) => socket.unref());
    `);
    expect({ code, output }).toEqual({ code: 0, output: "true true\n" });
  });

  it("is kept alive by a socket that was unref'd and ref'd again", async () => {
    const { code, output } = await run(`
      server.unref().on("connection", (socket) => setTimeout(() => socket.end("bye"), 50).unref());
      const client = connect(port, "127.0.0.1").unref().ref();
      client.on("data", (data) => console.log(String(data)));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "bye\n" });
  });

  it("lives until what a destroyed socket had written has arrived", async () => {
    const { code, output } = await run(`
      server.removeAllListeners("connection").on("connection", async (socket) => {
        let length = 0;
        for await (const chunk of socket) length += chunk.length;
        console.log(length);
        server.close();
      });
      const client = connect(port, "127.0.0.1");
      await once(client, "connect");
      client.write(Buffer.alloc(100_000));
      client.destroy();
    `);
    expect({ code, output }).toEqual({ code: 0, output: "100000\n" });
  });

  it.each(["extended: 'required'", "extended: false"])(
    "does not wait for a reader that never comes (%s)",
    async (option) => {
      const { code, output } = await run(`
      server.close();
      const options = { ${option} };
      const talking = createServer(options, (socket) => socket.end("nobody reads that").resume()).listen(0, "127.0.0.1");
      await once(talking, "listening");
      const client = connect({ ...options, port: talking.address().port, host: "127.0.0.1" });
      client.end("question");
      await once(client, "readable");
      talking.close();
      const done = elapsed();
      process.on("exit", () => console.log(client.readableLength, elapsed() - done < 1500 ? "at once" : "late"));
    `);
      expect({ code, output }).toEqual({ code: 0, output: "17 at once\n" });
    },
  );

  it.each(["extended: 'required'", "extended: false"])(
    "ends when nothing is left of a large transfer (%s)",
    async (option) => {
      const { code, output } = await run(`
      server.close();
      const options = { ${option} };
      const busy = createServer({ ...options, allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
      await once(busy, "listening");
      const client = connect({ ...options, port: busy.address().port, host: "127.0.0.1", allowHalfOpen: true });
      client.end(Buffer.alloc(2_000_000));
      let length = 0;
      client.on("data", (chunk) => { length += chunk.length; });
      await once(client, "close");
      busy.close();
      const done = elapsed();
      process.on("exit", () => console.log(length, elapsed() - done < 1500 ? "at once" : "late"));
    `);
      expect({ code, output }).toEqual({ code: 0, output: "2000000 at once\n" });
    },
  );

  it("is not kept alive by the signs of life of unref'd extended sockets", async () => {
    const { code, output } = await run(`
      const options = { extended: "required" };
      const idle = createServer(options, (socket) => socket.unref()).listen(0, "127.0.0.1").unref();
      await once(idle, "listening");
      server.close();
      const client = connect({ ...options, port: idle.address().port, host: "127.0.0.1" });
      await once(client, "connect");
      client.unref();
      process.on("exit", () => console.log(client.edition, elapsed() < 2500 ? "at once" : "late"));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "extended at once\n" });
  });

  it("is not kept alive by UDP sockets of peers when everything is unref'd", async () => {
    const { code, output } = await run(`
      const options = { extended: "required" };
      const busy = createServer(options, (socket) => socket.resume().unref()).listen(0, "127.0.0.1").unref();
      await once(busy, "listening");
      server.close();
      const client = connect({ ...options, port: busy.address().port, host: "127.0.0.1" });
      client.write(Buffer.alloc(2_000_000));
      while (client.writableLength > 0) await once(client, "drain");
      client.unref();
      const done = elapsed();
      process.on("exit", () => console.log(client.stats.bytesAcknowledged, elapsed() - done < 2000 ? "at once" : "late"));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "2000000 at once\n" });
  });

  it("ends at once when its sockets are destroyed with an error", async () => {
    const { code, output } = await run(`
      server.on("connection", (socket) => socket.on("error", (error) => { console.log(error.code); server.close(); }));
      const client = connect(port, "127.0.0.1").on("error", () => {});
      client.write(Buffer.alloc(1_000_000));
      await once(server, "connection");
      await new Promise(setImmediate);
      client.destroy(new Error("enough"));
      process.on("exit", () => console.log(elapsed() < 2000 ? "at once" : "late"));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "ECONNRESET\nat once\n" });
  });

  it("is told when there is no way to the server, although no UDP socket is open then", async () => {
    const { code, output } = await run(`
      server.close();
      let ms = 0;
      const clock = { now: () => ms, setTimer: (callback, delay) => setTimeout(() => { ms += delay; callback(); }, 1) };
      connect({ port: 5000, host: "255.255.255.255", clock }).on("error", (error) => console.log(error.code));
    `);
    expect({ code, output }).toEqual({ code: 0, output: "ETIMEDOUT\n" });
  });
});
