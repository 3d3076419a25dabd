// Preloaded (--require) into each of Node's own tests by scripts/node-suites.js. Answers require("net") with Confundo, or with
// node:net in the control run, and lets the servers and clients of http, https, http2 and tls use its sockets. Both kinds of run
// take the same way through this file, so that what fails in the control says nothing about Confundo.
"use strict";

const realNet = require("node:net");
const { registerHooks } = require("node:module");
const { pathToFileURL } = require("node:url");
const { join, resolve } = require("node:path");

const edition = process.env.NODE_SUITES_EDITION ?? "extended";
const builtFolder = resolve(__dirname, "..", "..", "dist");
const transport = edition === "tcp" ? { ...realNet } : confundo(edition);
const facade = { ...realNet, ...transport };
const connect = (...args) => facade.connect(...args);

globalThis[Symbol.for("confundo.node-suites.net")] = facade;
replaceNet();
useTransportInServers();
useTransportInClients();

/** Confundo under the names that node:net has. A classic edition is spoken where `name` is one's. */
function confundo(name) {
  const built = require(join(builtFolder, "index.js"));
  const classic = name === "extended" ? {} : { extended: false, edition: name };
  class Socket extends built.ConfundoSocket {
    constructor(options) {
      super({ ...options, ...classic });
    }
  }
  class Server extends built.ConfundoServer {
    constructor(options, onConnection) {
      if (typeof options === "function") super({ ...classic }, options);
      else super(options == null || typeof options === "object" ? { ...options, ...classic } : options, onConnection);
    }
  }
  const open = (...args) => {
    const [options, callback] = normalize(args);
    return callback === null
      ? built.connect({ ...options, ...classic })
      : built.connect({ ...options, ...classic }, callback);
  };
  const createServer = (options, onConnection) => new Server(options, onConnection);
  const SocketFunction = callable(name === "extended" ? built.ConfundoSocket : Socket);
  return {
    Socket: SocketFunction,
    Stream: SocketFunction,
    Server: callable(name === "extended" ? built.ConfundoServer : Server),
    createServer: name === "extended" ? built.createServer : createServer,
    connect: name === "extended" ? built.connect : open,
    createConnection: name === "extended" ? built.createConnection : open,
  };
}

/** Node's classes may be called without `new`. */
function callable(type) {
  return new Proxy(type, { apply: (target, _this, args) => new target(...args) });
}

function normalize(args) {
  return realNet._normalizeArgs(args);
}

/** Every `require("net")` and `import "node:net"` outside Node and Confundo finds the facade. */
function replaceNet() {
  const url = pathToFileURL(join(__dirname, "net.cjs")).href;
  const own = [pathToFileURL(builtFolder).href, pathToFileURL(__dirname).href];
  registerHooks({
    resolve(specifier, context, next) {
      const isNet = specifier === "net" || specifier === "node:net";
      if (!isNet || own.some((prefix) => context.parentURL?.startsWith(prefix))) return next(specifier, context);
      return { url, format: "commonjs", shortCircuit: true };
    },
  });
}

/** Servers of http, https, tls and http2 inherit from net.Server: they listen with one of the transport, and emit its sockets. */
function useTransportInServers() {
  const proto = realNet.Server.prototype;
  const inner = Symbol("inner server");
  const isPlain = (server) => server instanceof realNet.Server && Object.getPrototypeOf(server) === proto;
  const original = { listen: proto.listen, close: proto.close, address: proto.address };
  const delegate = (name) => {
    const before = proto[name];
    proto[name] = function (...args) {
      if (this[inner] === undefined) return before.apply(this, args);
      const result = this[inner][name](...args);
      return result === this[inner] ? this : result;
    };
  };
  proto.listen = function (...args) {
    if (isPlain(this)) return original.listen.apply(this, args);
    const server = innerOf(this);
    const callback = args.at(-1);
    if (typeof callback === "function") {
      args.pop();
      this.once("listening", callback);
    }
    server.maxConnections = this.maxConnections ?? server.maxConnections;
    server.listen(...args);
    return this;
  };
  proto.close = function (callback) {
    const server = this[inner];
    if (server === undefined) return original.close.call(this, callback);
    if (typeof callback === "function") {
      if (server.listening || server.address() !== null) this.once("close", callback);
      else return server.close(callback) && this;
    }
    server.close();
    return this;
  };
  for (const name of ["address", "getConnections", "ref", "unref"]) delegate(name);
  const { get } = Object.getOwnPropertyDescriptor(proto, "listening");
  Object.defineProperty(proto, "listening", {
    get() {
      return this[inner] === undefined ? get.call(this) : this[inner].listening;
    },
    configurable: true,
  });

  function innerOf(server) {
    if (server[inner] !== undefined) return server[inner];
    const { allowHalfOpen, pauseOnConnect, noDelay, keepAlive, keepAliveInitialDelay, blockList } = server;
    const options = {
      allowHalfOpen,
      pauseOnConnect,
      noDelay,
      keepAlive,
      keepAliveInitialDelay: keepAliveInitialDelay * 1000,
    };
    const created = facade.createServer(blockList === undefined ? options : { ...options, blockList });
    server[inner] = created;
    created.on("connection", (socket) => {
      if ("server" in socket) socket.server = server;
      server.emit("connection", socket);
    });
    for (const event of ["listening", "close", "error", "drop"]) {
      created.on(event, (...args) => server.emit(event, ...args));
    }
    return created;
  }
}

/** Clients find `connect` in the exports of node:net and node:tls when they need it. Sockets with a path stay Node's. */
function useTransportInClients() {
  const { connect: realConnect, createConnection: realCreateConnection } = realNet;
  const hasPath = (args) => normalize(args)[0].path != null || normalize(args)[0].handle != null;
  realNet.connect = (...args) => (hasPath(args) ? realConnect(...args) : connect(...args));
  realNet.createConnection = (...args) => (hasPath(args) ? realCreateConnection(...args) : connect(...args));
  if (!process.versions.openssl) return;
  const tls = require("node:tls");
  const realTlsConnect = tls.connect;
  tls.connect = (...args) => {
    const [options, callback] = normalizeTls(args);
    const rest = callback === undefined ? [] : [callback];
    if (options.socket || options.path != null || options.port == null) return realTlsConnect(...args);
    const {
      port,
      host,
      family,
      lookup,
      localAddress,
      localPort,
      signal,
      autoSelectFamily,
      autoSelectFamilyAttemptTimeout,
    } = options;
    const given = {
      port,
      host,
      family,
      lookup,
      localAddress,
      localPort,
      autoSelectFamily,
      autoSelectFamilyAttemptTimeout,
    };
    const wanted = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    const socket = connect({ ...wanted, ...(signal === undefined ? {} : { signal }) });
    return realTlsConnect({ ...options, socket }, ...rest);
  };

  function normalizeTls(args) {
    const [options, callback] = normalize(args);
    if (args[1] !== null && typeof args[1] === "object") return [{ ...options, ...args[1] }, callback ?? undefined];
    if (args[2] !== null && typeof args[2] === "object") return [{ ...options, ...args[2] }, callback ?? undefined];
    return [options, callback ?? undefined];
  }
}
