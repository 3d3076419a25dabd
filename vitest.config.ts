import { defineConfig } from "vitest/config";

// .ci/run reads its counts from this file.
const report = process.env.CONFUNDO_TEST_REPORT;

export default defineConfig({
  define: { CONFUNDO_ASSERTIONS: "true" },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: report ? ["default", "json"] : ["default"],
    ...(report ? { outputFile: { json: report } } : {}),
    coverage: { include: ["src/**/*.ts"] },
  },
});
