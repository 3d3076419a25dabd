import { describe, expect, test } from "vitest";
import { plainMessage, withCode } from "../../../src/text/plain-message.js";

describe("plainMessage", () => {
  const refused = { code: "ECONNREFUSED", syscall: "connect" };

  test.for<[string, unknown, string]>([
    [
      "an error of the transport",
      { ...refused, message: "connect ECONNREFUSED 127.0.0.1:5000: nothing listens there." },
      "127.0.0.1:5000: nothing listens there.",
    ],
    ["another beginning", { ...refused, message: "connect: refused" }, "connect: refused"],
    ["no system call", new Error("the folder is missing"), "the folder is missing"],
    ["no error", "text", "text"],
    ["nothing", undefined, "undefined"],
  ])("%s", ([, error, message]) => {
    expect(plainMessage(error)).toBe(message);
  });
});

test("withCode does not repeat a code that the text has", () => {
  expect(withCode("no answer.", "ETIMEDOUT")).toBe("no answer. (ETIMEDOUT)");
  expect(withCode("it was not found (ENOTFOUND).", "ENOTFOUND")).toBe("it was not found (ENOTFOUND).");
});
