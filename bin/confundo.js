#!/usr/bin/env node
// Written in a JavaScript old enough for any Node, so that an old one gets an answer instead of a syntax error.
var wanted = [22, 22];
var have = process.versions.node.split(".").map(Number);
if (have[0] < wanted[0] || (have[0] === wanted[0] && have[1] < wanted[1])) {
  process.stderr.write(
    "ERROR: confundo needs Node.js " +
      wanted.join(".") +
      " or newer, and this is " +
      process.versions.node +
      ".\n" +
      "Install a current Node.js (https://nodejs.org) and run the command again.\n",
  );
  process.exit(1);
}
keepCompiled();
import("../dist/cli/main.js").then(
  (cli) => cli.main(process.argv.slice(2)),
  (error) => {
    if (error && /EMFILE|too many open files/.test(error.message)) {
      process.stderr.write(
        "ERROR: Node.js cannot load this program: it may open too few files. Allow more with `ulimit -n 1024`. (EMFILE)\n",
      );
      process.exit(1);
    }
    if (!error || error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    process.stderr.write("ERROR: confundo is not built yet. Run `npm run build` in its folder first.\n");
    process.exit(1);
  },
);

// What Node compiles is kept for the next start, where only this user can write: a shared folder would let others run code here.
function keepCompiled() {
  var env = process.env;
  var windows = process.platform === "win32";
  var home = windows ? env.LOCALAPPDATA : env.XDG_CACHE_HOME || (env.HOME && env.HOME + "/.cache");
  if (home) process.getBuiltinModule("node:module").enableCompileCache(home + "/confundo/compiled");
}
