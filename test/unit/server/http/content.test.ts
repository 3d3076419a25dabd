import { describe, expect, test } from "vitest";
import { digestOf, disposition, expectation, judge, rangeOf, typeOf } from "../../../../src/server/http/content.js";

const HASH = "a".repeat(64);
const OTHER = "b".repeat(64);
const AT = Date.parse("2026-11-20T10:00:00.500Z");
const FILE = { sha256: HASH, modifiedAt: AT };
const headers = (all: Record<string, string>) => (name: string) => all[name];

describe("conditions (RFC 9110 section 13.2.2)", () => {
  test.each([
    ["nothing asked", {}, "content"],
    ["If-None-Match, the same", { "if-none-match": `"${HASH}"` }, "unchanged"],
    ["If-None-Match, weakly the same", { "if-none-match": `W/"${HASH}"` }, "unchanged"],
    ["If-None-Match, one of many", { "if-none-match": `"x", "${HASH}"` }, "unchanged"],
    ["If-None-Match, any", { "if-none-match": "*" }, "unchanged"],
    ["If-None-Match, another", { "if-none-match": `"${OTHER}"` }, "content"],
    [
      "If-None-Match goes before If-Modified-Since",
      { "if-none-match": `"${OTHER}"`, "if-modified-since": "Fri, 20 Nov 2026 10:00:00 GMT" },
      "content",
    ],
    ["If-Match, the same", { "if-match": `"${HASH}"` }, "content"],
    ["If-Match, weakly the same is not enough", { "if-match": `W/"${HASH}"` }, "failed"],
    ["If-Match, another", { "if-match": `"${OTHER}"` }, "failed"],
    ["If-Modified-Since, that second", { "if-modified-since": "Fri, 20 Nov 2026 10:00:00 GMT" }, "unchanged"],
    ["If-Modified-Since, before", { "if-modified-since": "Fri, 20 Nov 2026 09:59:59 GMT" }, "content"],
    ["If-Modified-Since, no date", { "if-modified-since": "yesterday-ish" }, "content"],
    ["If-Unmodified-Since, before", { "if-unmodified-since": "Fri, 20 Nov 2026 09:59:59 GMT" }, "failed"],
  ])("%s", (_, all, verdict) => {
    expect(judge(headers(all as Record<string, string>), FILE)).toBe(verdict);
  });

  test.each([
    [{}, "anything"],
    [{ "if-match": "*" }, "present"],
    [{ "if-match": `"${HASH}", "${OTHER}", "odd"` }, [HASH, OTHER]],
    [{ "if-match": `W/"${HASH}"` }, []],
    [{ "if-none-match": "*" }, "absent"],
  ])("a change with %j expects %j", (all, expected) => {
    expect(expectation(headers(all as Record<string, string>))).toEqual(expected);
  });

  test("a change with If-None-Match of a tag is refused", () => {
    expect(() => expectation(headers({ "if-none-match": `"${HASH}"` }))).toThrow(/If-None-Match/);
  });
});

describe("ranges (RFC 9110 section 14)", () => {
  test.each([
    ["bytes=0-0", { start: 0, end: 0 }],
    ["bytes=2-5", { start: 2, end: 5 }],
    ["bytes=2-", { start: 2, end: 9 }],
    ["bytes=2-99", { start: 2, end: 9 }],
    ["bytes=-3", { start: 7, end: 9 }],
    ["bytes=-99", { start: 0, end: 9 }],
    ["bytes=-0", "outside"],
    ["bytes=10-", "outside"],
    ["bytes=10-12", "outside"],
    ["bytes=5-2", "whole"],
    ["bytes=-", "whole"],
    ["bytes=a-b", "whole"],
    ["bytes=0-1,4-5", "whole"],
    ["bytes=99999999999999999999-", "whole"],
    ["lines=0-1", "whole"],
    ["", "whole"],
  ])("%s of ten bytes", (range, part) => {
    expect(rangeOf(headers({ range }), 10, FILE)).toEqual(part);
  });

  test("of nothing there are no bytes", () => {
    expect(rangeOf(headers({ range: "bytes=0-" }), 0, FILE)).toBe("outside");
    expect(rangeOf(headers({ range: "bytes=-5" }), 0, FILE)).toBe("whole");
  });

  test.each([
    [`"${HASH}"`, { start: 1, end: 2 }],
    [`"${OTHER}"`, "whole"],
    [`W/"${HASH}"`, "whole"],
    ["Fri, 20 Nov 2026 10:00:00 GMT", { start: 1, end: 2 }],
    ["Fri, 20 Nov 2026 10:00:01 GMT", "whole"],
  ])("If-Range %s", (ifRange, part) => {
    expect(rangeOf(headers({ range: "bytes=1-2", "if-range": ifRange }), 10, FILE)).toEqual(part);
  });
});

describe("types", () => {
  test.each([
    "a.html",
    "a.htm",
    "a.svg",
    "a.xml",
    "a.xhtml",
    "a.js",
    "a.mjs",
    "a.css",
    "a.wasm",
    "a",
    "a.unknown",
    "a.HTML",
  ])("%s can do nothing in a browser", (name) => {
    for (const inline of [false, true]) {
      expect(typeOf(name, inline)).toEqual({ type: "application/octet-stream", shown: false });
    }
  });

  test.each([
    ["a.jpg", "image/jpeg"],
    ["b/c.MP4", "video/mp4"],
    ["notes.txt", "text/plain; charset=utf-8"],
    ["notes.md", "text/plain; charset=utf-8"],
  ])("%s can be shown", (name, type) => {
    expect(typeOf(name, true)).toEqual({ type, shown: true });
    expect(typeOf(name, false).shown).toBe(false);
  });
});

test.each([
  ["a/summer.jpg", `attachment; filename="summer.jpg"; filename*=UTF-8''summer.jpg`],
  ['x"y\\z\r\n.txt', `attachment; filename="x_y_z__.txt"; filename*=UTF-8''x%22y%5Cz%0D%0A.txt`],
  [
    "žluť 100% (1).txt",
    `attachment; filename="_lu_ 100_ (1).txt"; filename*=UTF-8''%C5%BElu%C5%A5%20100%25%20%281%29.txt`,
  ],
])("the name of %j is safe in a header", (path, header) => {
  expect(disposition(path, false)).toBe(header);
});

test("Content-Digest (RFC 9530)", () => {
  const digest = `sha-256=:${Buffer.from(HASH, "hex").toString("base64")}:`;
  expect(digestOf(headers({ "content-digest": `sha-512=:AAAA:, ${digest}` }))).toBe(HASH);
  expect(digestOf(headers({ "content-digest": "md5=:AAAA:" }))).toBeNull();
  expect(digestOf(headers({}))).toBeNull();
});
