import { defineConfig } from "vitest/config";
import { PATIENCE_MS, TEST_LIMIT_MS } from "./test/support/limits.js";

// .ci/run reads its counts from this file.
const report = process.env.CONFUNDO_TEST_REPORT;

export default defineConfig({
  define: { CONFUNDO_ASSERTIONS: "true" },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: TEST_LIMIT_MS,
    hookTimeout: TEST_LIMIT_MS,
    expect: { poll: { timeout: PATIENCE_MS, interval: 20 } },
    reporters: report ? ["default", "json"] : ["default"],
    ...(report ? { outputFile: { json: report } } : {}),
    coverage: { include: ["src/**/*.ts"] },
  },
});
