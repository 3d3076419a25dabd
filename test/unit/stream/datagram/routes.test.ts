import { expect, test } from "vitest";
import { localAddressTowards } from "../../../../src/stream/datagram/udp.js";

test("the local address towards a host comes from the routes, and is asked for again when it is old", () => {
  const first = localAddressTowards("127.0.0.1", 0);
  expect(first).toBe("127.0.0.1");
  expect(localAddressTowards("127.0.0.1", 9_999)).toBe(first);
  expect(localAddressTowards("127.0.0.1", 10_000)).toBe(first);
});

test("more addresses than are remembered are no matter", () => {
  for (let host = 1; host <= 300; host++) {
    expect(localAddressTowards(`127.0.${host >> 8}.${host & 255}`, 0)).toMatch(/^127\./);
  }
});
