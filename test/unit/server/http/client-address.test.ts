import { describe, expect, test } from "vitest";
import { isNetwork, TrustedProxies } from "../../../../src/server/http/client-address.js";

const PROXIES = ["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"];

function clientOf(from: string, headers: Record<string, string>, trusted: readonly string[] = PROXIES): string {
  const { address, https } = new TrustedProxies(trusted).clientOf(from, (name) => headers[name]);
  return https === undefined ? address : `${address} ${https ? "https" : "http"}`;
}

describe("the client of a request", () => {
  test.each([
    // Nobody is trusted: what is said counts for nothing.
    ["127.0.0.1", { "x-forwarded-for": "203.0.113.7" }, [], "127.0.0.1"],
    ["198.51.100.1", { "x-forwarded-for": "203.0.113.7" }, PROXIES, "198.51.100.1"],
    ["198.51.100.1", { forwarded: "for=203.0.113.7" }, PROXIES, "198.51.100.1"],
    // A trusted proxy.
    ["127.0.0.1", { "x-forwarded-for": "203.0.113.7" }, PROXIES, "203.0.113.7"],
    ["::ffff:127.0.0.1", { "x-forwarded-for": "203.0.113.7" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { forwarded: "for=203.0.113.7" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { forwarded: 'For="[2001:db8::7]:4711";proto=https;by=127.0.0.1' }, PROXIES, "2001:db8::7 https"],
    ["127.0.0.1", { "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https" }, PROXIES, "203.0.113.7 https"],
    ["127.0.0.1", { "x-forwarded-for": "203.0.113.7:80", "x-forwarded-proto": "http" }, PROXIES, "203.0.113.7 http"],
    ["127.0.0.1", { "x-forwarded-for": "2001:db8::7" }, PROXIES, "2001:db8::7"],
    ["127.0.0.1", { "x-forwarded-proto": "https" }, PROXIES, "127.0.0.1 https"],
    // However it is written.
    ["127.0.0.1", { "x-forwarded-for": "::ffff:cb00:7107" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { forwarded: 'for="[0:0:0:0:0:FFFF:203.0.113.7]:80"' }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { "x-forwarded-for": "2001:0DB8:0:0::0007%eth0" }, PROXIES, "2001:db8::7"],
    ["127.0.0.1", { "x-forwarded-for": "2001:0db8::7", forwarded: 'for="[2001:DB8::7]"' }, PROXIES, "2001:db8::7"],
    ["::ffff:7f00:1", { "x-forwarded-for": "::ffff:10.1.2.3, ::ffff:a01:203" }, PROXIES, "10.1.2.3"],
    ["2001:db8:1::5", { "x-forwarded-for": "203.0.113.7" }, PROXIES, "203.0.113.7"],
    // Several of them; what the client itself has put in front is left out.
    ["127.0.0.1", { "x-forwarded-for": "1.1.1.1, 203.0.113.7, 10.1.2.3" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { forwarded: "for=1.1.1.1, for=203.0.113.7, for=10.1.2.3" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { "x-forwarded-for": "10.1.2.3, 10.9.9.9" }, PROXIES, "10.1.2.3"],
    // Hidden or no address: the proxy counts.
    ["127.0.0.1", { "x-forwarded-for": "unknown" }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { forwarded: "for=_hidden" }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { forwarded: "for=203.0.113.7, for=unknown" }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { "x-forwarded-for": "" }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { forwarded: 'for="203.0.113.7' }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { forwarded: "for=203.0.113.7 for=1.1.1.1" }, PROXIES, "127.0.0.1"],
    ["127.0.0.1", { forwarded: "proto=https" }, PROXIES, "127.0.0.1"],
    // Both: one of them may be the client's own.
    ["127.0.0.1", { forwarded: "for=203.0.113.7", "x-forwarded-for": "203.0.113.7" }, PROXIES, "203.0.113.7"],
    ["127.0.0.1", { forwarded: "for=1.1.1.1", "x-forwarded-for": "203.0.113.7" }, PROXIES, "127.0.0.1"],
  ] as [string, Record<string, string>, string[], string][])(
    "from %s with %o, trusting %o, is %s",
    (from, headers, trusted, client) => {
      expect(clientOf(from, headers, trusted)).toBe(client);
    },
  );

  test("a header of any length takes its time, and no more", () => {
    expect(clientOf("127.0.0.1", { forwarded: `${"for=10.0.0.1,".repeat(100_000)}for=203.0.113.7` })).toBe(
      "203.0.113.7",
    );
    expect(clientOf("127.0.0.1", { forwarded: `for="${"\\".repeat(100_000)}` })).toBe("127.0.0.1");
  });
});

test.each([
  ["127.0.0.1", true],
  ["::1", true],
  ["10.0.0.0/8", true],
  ["2001:db8::/32", true],
  ["10.0.0.0/33", false],
  ["fe80::1%eth0", false],
  ["localhost", false],
  ["10.0.0", false],
  ["/tmp/home", false],
  ["", false],
])("%s is an address or a network: %s", (text, yes) => {
  expect(isNetwork(text)).toBe(yes);
  if (yes) expect(() => new TrustedProxies([text])).not.toThrow();
  else expect(() => new TrustedProxies([text])).toThrow(TypeError);
});
