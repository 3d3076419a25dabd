import { configDefaults, defineConfig, mergeConfig } from "vitest/config";
import config from "./vitest.config.js";

/** Files that take more than 5 s. `npm test` runs them, too. */
const SLOW = [
  "native/sequences",
  "server/auth/auth",
  "server/http/events",
  "server/http/rights",
  "server/keeper",
  "server/limits",
  "stream/compose",
  "stream/datagram/port-sharing",
  "stream/extended",
  "stream/process",
  "stream/roaming",
  "sync/copy",
  "sync/follow",
  "sync/listing",
  "sync/mirror",
  "sync/reuse",
  "sync/savings",
];

/** A quick subset, under a minute: npm run test:unit. */
const unit = mergeConfig(
  config,
  defineConfig({ test: { exclude: [...configDefaults.exclude, ...SLOW.map((name) => `test/unit/${name}.test.ts`)] } }),
);
unit.test.include = ["test/unit/**/*.test.ts", "test/*.test.ts"];

export default unit;
