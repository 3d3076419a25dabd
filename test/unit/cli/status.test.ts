import { describe, expect, test } from "vitest";
import { Status } from "../../../src/cli/status.js";
import type { MirrorEvent } from "../../../src/sync/index.js";

const MIB = 1024 * 1024;
const planned = { directories: 0, links: 0, touched: 0, checked: 0, moved: 0, removed: 0 };
const sending = (path: string, bytes: number, size: number): MirrorEvent => ({ type: "sending", path, bytes, size });

/** A round of three files, a second old. */
function underWay(): Status {
  const status = new Status();
  status.take({ type: "planned", files: 3, bytes: 100 * MIB, ...planned }, 0);
  status.take(sending("small", MIB, 10 * MIB), 10);
  status.take(sending("large\u001b[2J", 20 * MIB, 80 * MIB), 10);
  status.take({ type: "pushed", path: "done", kind: "file", bytes: 10 * MIB }, 500);
  const bytes = { bytes: 30 * MIB, bytesTotal: 90 * MIB, bytesSaved: 10 * MIB };
  status.take({ type: "progress", steps: 1, stepsTotal: 3, ...bytes }, 1000);
  return status;
}

describe("what is under way", () => {
  test("is one line for each transfer, the largest first, and one for the whole; nothing moves the cursor", () => {
    expect(underWay().lines(2010, 10)).toEqual([
      '   25 %   80.0 MiB  6 s left  "large\\u001b[2J"',
      "   10 %   10.0 MiB  18 s left  small",
      "[########................]  33 %  1 of 3 files  30.0 MiB of 90.0 MiB  14.9 MiB/s  5 s left  10.0 MiB not sent again",
    ]);
  });

  test("fits the rows that there are", () => {
    const status = underWay();
    for (let i = 0; i < 20; i++) status.take(sending(`f${i}`, 0, MIB), 20);
    expect(status.lines(1000, 1)).toEqual([expect.stringContaining("1 of 3 files")]);
    expect(status.lines(1000, 4)).toEqual([
      expect.stringContaining("large"),
      expect.stringContaining("small"),
      "  and 20 more",
      expect.stringContaining("1 of 3 files"),
    ]);
  });

  test("goes when a file is done, has failed or is superseded, and all when the round or the connection is over", () => {
    const status = underWay();
    status.take({ type: "superseded", path: "small" }, 1000);
    status.take({ type: "failed", path: "large\u001b[2J", code: "EIO", message: "no" }, 1000);
    expect(status.lines(1000, 10)).toHaveLength(1);
    status.take({ type: "retrying", delayMs: 1, attempt: 2, code: "ERR_CONNECT", reason: "no" }, 1000);
    expect(status.lines(1000, 10)).toEqual(["not connected (ERR_CONNECT): attempt 2 in 0.0 s"]);
  });

  test("is told only when it takes a while; looking through the folder only until it was in step once", () => {
    const status = new Status();
    status.take({ type: "walking", reason: "comparing with the destination" }, 0);
    expect(status.lines(0, 10)).toEqual(["looking through the folder: comparing with the destination"]);
    status.take({ type: "planned", files: 1, bytes: 1, ...planned }, 10);
    expect(status.lines(20, 10)).toEqual([]);
    const none = { bytesSent: 0, bytesReused: 0, bytesMoved: 0, deleted: 0, moved: 0 };
    status.take({ type: "synced", files: 1, ...none, seconds: 1, entries: 1, failed: 0 }, 30);
    status.take({ type: "walking", reason: "a walk now and then" }, 60_000);
    expect(status.lines(60_000, 10)).toEqual([]);
  });
});
