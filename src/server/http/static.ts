/** The dashboard's files, from memory: there is no path that leads anywhere else. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { gzipSync } from "node:zlib";
import { getMimeType } from "hono/utils/mime";
import type { Api } from "./router.js";

interface StaticFile {
  readonly plain: Buffer<ArrayBuffer>;
  /** Where it is smaller. */
  readonly gzipped: Buffer<ArrayBuffer> | undefined;
  readonly etag: string;
  readonly type: string;
  /** Its name changes with its content. */
  readonly immutable: boolean;
}

const INDEX = "/index.html";
/** As vite names what it builds: a hash before the extension. */
const HASHED = /^\/assets\/.+-[\w-]{8,}\.\w+$/;
const WITHOUT_DASHBOARD = "This is a Confundo server. Its interface is described at /api/openapi.json\n";

/** Serves what is in `folder` at `/`. Views of the dashboard have addresses of their own, which are all its one page. */
export function addDashboard(app: Api, folder: string | undefined): void {
  const files = folder === undefined ? new Map<string, StaticFile>() : load(folder);
  const index = files.get(INDEX);
  app.get("/*", async (c, next) => {
    const { path } = c.req;
    const isView = !path.startsWith("/api/") && !path.slice(path.lastIndexOf("/")).includes(".");
    const file = path === INDEX ? undefined : (files.get(path) ?? (isView ? index : undefined));
    if (file === undefined) {
      if (path !== "/") return next();
      return c.text(WITHOUT_DASHBOARD);
    }
    const headers = {
      ETag: file.etag,
      "Cache-Control": file.immutable ? "public, max-age=31536000, immutable" : "no-cache",
      Vary: "Accept-Encoding",
    };
    if (c.req.header("if-none-match") === file.etag) return c.body(null, 304, headers);
    const gzipped = /\bgzip\b/.test(c.req.header("accept-encoding") ?? "") ? file.gzipped : undefined;
    const encoding = gzipped === undefined ? {} : { "Content-Encoding": "gzip" };
    return c.body(gzipped ?? file.plain, 200, { ...headers, ...encoding, "Content-Type": file.type });
  });
}

function load(folder: string): Map<string, StaticFile> {
  const files = new Map<string, StaticFile>();
  for (const entry of list(folder)) {
    if (!entry.isFile()) continue;
    const full = join(entry.parentPath, entry.name);
    const path = full.slice(folder.length).split(sep).join("/");
    const plain = readFileSync(full);
    const gzipped = gzipSync(plain);
    files.set(path, {
      plain,
      gzipped: gzipped.length < plain.length ? gzipped : undefined,
      // Weak: packed or not, it is the same.
      etag: `W/"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`,
      type: getMimeType(path) ?? "application/octet-stream",
      immutable: HASHED.test(path),
    });
  }
  return files;
}

/** A package that was built without the dashboard serves the rest. */
function list(folder: string) {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch {
    return [];
  }
}
