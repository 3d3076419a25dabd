import { availableParallelism } from "node:os";
import { configDefaults, defineConfig, mergeConfig } from "vitest/config";
import config from "./vitest.config.js";

/** Files that take about 2 s or more. `npm test` runs them, too. */
const SLOW = [
  "native/sequences",
  "protocol/congestion/bottleneck",
  "protocol/extended/cookies",
  "server/auth/auth",
  "server/http/api",
  "server/http/events",
  "server/http/listen",
  "server/http/rights",
  "server/keeper",
  "server/limits",
  "server/storage-limit",
  "server/versions-bound",
  "server/write-behind",
  "stream/backpressure",
  "stream/compose",
  "stream/datagram/port-sharing",
  "stream/datagram/seccomp",
  "stream/extended",
  "stream/process",
  "stream/roaming",
  "stream/rx-stream",
  "sync/asking",
  "sync/chunk-index",
  "sync/commit",
  "sync/copy",
  "sync/delete-guard",
  "sync/follow",
  "sync/holes",
  "sync/lifecycle",
  "sync/listing",
  "sync/mirror",
  "sync/offers",
  "sync/open-files",
  "sync/receive",
  "sync/reuse",
  "sync/roots",
  "sync/rules",
  "sync/savings",
  "sync/throttle",
  "sync/watch",
];

/** A quick subset, under a minute: npm run test:unit. */
const unit = mergeConfig(
  config,
  // Two at a time also where there are two cores: they wait as much as they work.
  defineConfig({
    test: {
      maxWorkers: Math.max(2, availableParallelism() - 1),
      exclude: [...configDefaults.exclude, ...SLOW.map((name) => `test/unit/${name}.test.ts`)],
    },
  }),
);
unit.test.include = ["test/unit/**/*.test.ts", "test/*.test.ts"];

export default unit;
