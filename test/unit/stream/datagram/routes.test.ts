import { expect, test } from "vitest";
import { askForMtusAnew, maxDatagramBytes } from "../../../../src/stream/datagram/mtu.js";
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

test("the MTU between two addresses is asked for again when it is old", () => {
  const asked: string[] = [];
  const ask = (mtu: number) => (local: string, remote: string) => {
    asked.push(`${local} ${remote}`);
    return mtu;
  };
  expect(maxDatagramBytes("::ffff:192.0.2.1", "::ffff:192.0.2.2", 0, ask(9000))).toBe(8972);
  expect(maxDatagramBytes("192.0.2.1", "192.0.2.2", 9_999, ask(1500))).toBe(8972);
  expect(maxDatagramBytes("192.0.2.1", "192.0.2.3", 9_999, ask(1500))).toBe(1472);
  expect(maxDatagramBytes("192.0.2.1", "192.0.2.2", 10_000, ask(1500))).toBe(1472);
  expect(maxDatagramBytes("2001:db8::1", "2001:db8::2", 0, ask(1500))).toBe(1452);
  askForMtusAnew();
  expect(maxDatagramBytes("192.0.2.1", "192.0.2.3", 9_999, ask(1400))).toBe(1372);
  expect(asked).toEqual([
    "192.0.2.1 192.0.2.2",
    "192.0.2.1 192.0.2.3",
    "192.0.2.1 192.0.2.2",
    "2001:db8::1 2001:db8::2",
    "192.0.2.1 192.0.2.3",
  ]);
});
