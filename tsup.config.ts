import { defineConfig } from "tsup";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    "protocol/index": "src/protocol/index.ts",
    "secure/index": "src/secure/index.ts",
    "sync/index": "src/sync/index.ts",
    "server/index": "src/server/index.ts",
    "cli/main": "src/cli/main.ts",
  },
  format: "esm",
  target: "node22",
  platform: "node",
  splitting: true,
  sourcemap: true,
  clean: true,
  // node:sqlite has no name without it.
  removeNodeProtocol: false,
  // Invariants are for tests; without them nothing is left of a check.
  define: { CONFUNDO_ASSERTIONS: "false" },
  esbuildOptions: (options) => {
    options.minifySyntax = true;
  },
  // TypeScript 7 has no JavaScript API: tsc writes the declarations (tsconfig.build.json).
  dts: false,
});
