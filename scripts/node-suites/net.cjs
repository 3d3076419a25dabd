// What require("net") answers in a test of Node's: see shim.cjs.
module.exports = globalThis[Symbol.for("confundo.node-suites.net")];
