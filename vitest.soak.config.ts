import { defineConfig } from "vitest/config";

/** What takes too long for every commit: npm run soak. */
export default defineConfig({
  test: { include: ["test/soak/**/*.soak.ts"], testTimeout: 900_000, hookTimeout: 60_000, fileParallelism: false },
});
