import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { hmacSha256 } from "../../../src/stream/extended.js";

describe("hmacSha256", () => {
  it.each([1, 32, 63, 64, 65, 200])("is HMAC-SHA-256, with a key of %s bytes", (length) => {
    const key = Buffer.alloc(length, "key");
    const hmac = hmacSha256(key);
    for (const message of ["", "confundo stateless reset 1 2", "ä€".repeat(100)]) {
      expect(hmac(message)).toEqual(createHmac("sha256", key).update(message).digest());
    }
  });
});
