import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

/** What each example prints; lines of its two ends may come in any order. */
const OUTPUT: Record<string, (string | RegExp)[]> = {
  "cluster.ts": ["40 clients were answered by 2 processes"],
  "for-await.ts": [
    "destroyed: true",
    "enough after the first chunk",
    "every byte acknowledged: true",
    "first line: line 1",
    "lines received: 20000",
    "told: ECONNRESET",
  ],
  "gzip.ts": [/^received \d+ bytes, which were \d+ before$/, /^sent a file of \d+ bytes as \d+$/],
  "http.ts": [
    "200 GET /bye with 0 bytes",
    "200 GET /hello with 0 bytes",
    "200 POST /upload with 1500000 bytes",
    "connections opened: 1",
  ],
  "mirror-after-build.ts": [
    "1.0 is there: 2 files sent, 0 deleted",
    "1.1 is there: 2 files sent, 1 deleted",
    "2.0 is there: 2 files sent, 1 deleted",
    "the mirror has version 2.0",
  ],
  "mirror-images.ts": ["pushed before.png", "pushed later.jpg", "the mirror holds before.png, later.jpg"],
  "own-remote.ts": ["first: 2 files", "in step: a, b", "in step: a, c", "then: 1 files, 1 deleted; a is 8e56b639"],
  "relay.ts": ["26 letters, over extended", "relayed 26 bytes there and 25 back"],
  "rxjs.ts": [/^all \d+ bytes acknowledged$/, "s0: 300 warm readings", "s1: 375 warm readings"],
  "tar.ts": ["received hello.txt: 23 bytes", "received notes/big.bin: 300000 bytes", /^sent \d+ bytes of tar$/],
  "tls.ts": ["TLSv1.3, certificate of localhost verified", "You said: a secret"],
  "two-mirrors.ts": [
    "music has last.ogg, song.ogg",
    /^music: \d+ bytes are there$/,
    "music: connecting",
    "music: synced",
    "music: syncing",
    /^photos: \d+ bytes are there$/,
    "photos: connecting",
    "photos: synced",
    "photos: syncing",
    "upload.jpg is safe",
  ],
  "web-streams.ts": ["WEB STREAMS WORK TOO"],
};

const files = readdirSync(EXAMPLES).filter((name) => name.endsWith(".ts"));

describe("the examples", () => {
  it("are all known here", () => {
    expect(files.sort()).toEqual(Object.keys(OUTPUT).sort());
  });

  it.each(files)("%s fits 60 lines, runs, and prints what it should", async (name) => {
    const source = readFileSync(join(EXAMPLES, name), "utf8");
    expect(source.trimEnd().split("\n").length).toBeLessThanOrEqual(60);
    const child = spawn(process.execPath, [join(EXAMPLES, name)]);
    const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
    expect({ code, errors }).toEqual({ code: 0, errors: "" });
    const lines = output.trimEnd().split("\n").sort();
    expect(lines).toEqual(OUTPUT[name]?.map((line) => (line instanceof RegExp ? expect.stringMatching(line) : line)));
  });
});
