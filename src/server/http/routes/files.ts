/** The content of files. */
import type { Context } from "hono";
import type { Services } from "../api.js";
import { digestHeader, digestOf, disposition, etagOf, expectation, judge, rangeOf, typeOf } from "../content.js";
import { administrates, audit, noSuchFolder, permit } from "../guard.js";
import type { OpenFile } from "../mirrors.js";
import { atPace } from "../pace.js";
import { Problem } from "../problem.js";
import { type Api, type ApiEnv, answer, createRoute, nothing, problems, REST_OF_PATH, SECURITY, z } from "../router.js";
import { ContentQuery, EntrySchema, FileParam, UploadQuery } from "../schemas.js";
import { actorOf, entryView } from "../views.js";

/** Read and sent at a time. */
const BLOCK_BYTES = 256 * 1024;
/** A file that a browser opens by itself can load nothing, run nothing, and is of no origin. */
const SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

const shared = { tags: ["files"], security: SECURITY };
const path = `/api/v1/folders/{folder}/files/{path}${REST_OF_PATH}` as const;
const binary = { "application/octet-stream": { schema: z.any().openapi({ type: "string", format: "binary" }) } };

const read = createRoute({
  ...shared,
  method: "get",
  path,
  summary: "The content of a file",
  description:
    "ETag is its SHA-256. Heeds If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Range (one) and If-Range; HEAD too.",
  request: { params: FileParam, query: ContentQuery },
  responses: {
    200: { description: "All of it.", content: binary },
    206: { description: "The part that was asked for.", content: binary },
    304: { description: "It is what the client has." },
    ...problems(400, 401, 404, 412, 416),
  },
});

const write = createRoute({
  ...shared,
  method: "put",
  path,
  summary: "Put a file in its place, with the folders above it",
  description:
    "In one step when all of it has arrived; what was there is kept as a version. If-None-Match: * makes only a new one, If-Match with an ETag replaces only that one. Content-Digest (sha-256) is checked.",
  request: { params: FileParam, query: UploadQuery, body: { content: binary, required: true } },
  responses: {
    200: answer("Replaced.", EntrySchema),
    201: answer("New.", EntrySchema),
    ...problems(400, 401, 403, 404, 409, 412, 507),
  },
});

const remove = createRoute({
  ...shared,
  method: "delete",
  path,
  summary: "Delete a file, a link or an empty directory",
  description: "What a file was is kept as a version. Heeds If-Match.",
  request: { params: FileParam },
  responses: { 204: nothing, ...problems(400, 401, 403, 404, 409, 412) },
});

export function addFiles(app: Api, services: Services): void {
  const { database, mirrors, metrics } = services;
  const known = async (folder: string): Promise<void> => {
    if ((await database.folders.byName(folder)) === undefined) throw noSuchFolder(folder);
  };

  app.openapi(read, async (c) => {
    const { folder, path } = c.req.valid("param");
    const { version, inline } = c.req.valid("query");
    await permit(services, c, folder, "read");
    await known(folder);
    const file = await mirrors.open(folder, path, version);
    if (file === undefined) throw new Problem("ERR_NOT_FOUND", `there is no such file in "${folder}": ${path}`);
    // HEAD comes here too, and hono takes the body away; what is not sent is to be closed here.
    return respond(c, file, path, inline === "true", (bytes) => metrics.sent(bytes));
  });

  app.openapi(write, async (c) => {
    const { folder, path } = c.req.valid("param");
    const { modifiedAt, executable } = c.req.valid("query");
    await permit(services, c, folder, "write");
    await known(folder);
    refuseParts(c);
    const onTooSlow = (): void => services.limits?.add("fileWindowMs");
    const content = count(atPace(bodyOf(c), { onTooSlow }), (bytes) => metrics.received(bytes));
    const { record, created } = await mirrors.place({
      folder,
      path,
      content,
      size: sizeOf(c),
      sha256: digestOf((name) => c.req.header(name)),
      expected: expectation((name) => c.req.header(name)),
      modifiedAt: modifiedAt ?? null,
      executable: executable === "true",
      actor: actorOf(c.get("who")),
      administrator: administrates(c.get("who")),
    });
    await audit(services, c, "file.put", `${folder}/${path}`);
    if (record.sha256 !== null) c.header("ETag", etagOf(record.sha256));
    return c.json(entryView(record), created ? 201 : 200);
  });

  app.openapi(remove, async (c) => {
    const { folder, path } = c.req.valid("param");
    await permit(services, c, folder, "write");
    await known(folder);
    const expected = expectation((name) => c.req.header(name));
    await mirrors.remove({ folder, path, expected, actor: actorOf(c.get("who")) });
    await audit(services, c, "file.delete", `${folder}/${path}`);
    return c.body(null, 204);
  });
}

async function respond(
  c: Context<ApiEnv>,
  file: OpenFile,
  path: string,
  inline: boolean,
  sent: (bytes: number) => void,
) {
  const header = (name: string) => c.req.header(name);
  const verdict = judge(header, file);
  const { type, shown } = typeOf(path, inline);
  const about = {
    ETag: etagOf(file.sha256),
    "Last-Modified": new Date(file.modifiedAt).toUTCString(),
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": SANDBOX,
    "Cross-Origin-Resource-Policy": "same-origin",
  };
  if (verdict !== "content") await file.handle.close();
  if (verdict === "failed") throw new Problem("ERR_PRECONDITION", `"${path}" is not what was expected`);
  if (verdict === "unchanged") return c.body(null, 304, about);

  const isHead = c.req.method === "HEAD";
  const range = isHead ? "whole" : rangeOf(header, file.size, file);
  if (range === "outside") {
    await file.handle.close();
    const headers = { "Content-Range": `bytes */${file.size}` };
    throw new Problem("ERR_RANGE", `"${path}" has ${file.size} bytes, and none of those that were asked for`, {
      headers,
    });
  }
  const { start, end } = range === "whole" ? { start: 0, end: file.size - 1 } : range;
  const headers = {
    ...about,
    "Content-Type": type,
    "Content-Length": String(end - start + 1),
    "Content-Disposition": disposition(path, shown),
    "Accept-Ranges": "bytes",
    "Repr-Digest": digestHeader(file.sha256),
    ...(range === "whole" ? {} : { "Content-Range": `bytes ${start}-${end}/${file.size}` }),
  };
  if (!isHead) return c.body(stream(file, start, end, sent), range === "whole" ? 200 : 206, headers);
  await file.handle.close();
  return c.body(null, 200, headers);
}

/** From `start` to `end`, both inclusive; reads as fast as the client takes. Closes the file. */
function stream({ handle }: OpenFile, start: number, end: number, sent: (bytes: number) => void): ReadableStream {
  let at = start;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const length = Math.min(BLOCK_BYTES, end + 1 - at);
          const { bytesRead, buffer } =
            length > 0 ? await handle.read(Buffer.allocUnsafe(length), 0, length, at) : EMPTY;
          // Fewer than were promised: the connection has to break, or the client would take it for all.
          if (bytesRead === 0 && at <= end) throw new Error("the file has become shorter while it was sent");
          at += bytesRead;
          sent(bytesRead);
          if (bytesRead > 0) controller.enqueue(buffer.subarray(0, bytesRead));
          if (at <= end) return;
          controller.close();
          await handle.close();
        } catch (error) {
          controller.error(error);
          await handle.close().catch(() => {});
        }
      },
      cancel: () => handle.close(),
    },
    { highWaterMark: 1 },
  );
}

const EMPTY = { bytesRead: 0, buffer: Buffer.alloc(0) };

function refuseParts(c: Context<ApiEnv>): void {
  if (c.req.header("content-range") !== undefined) {
    throw new Problem("ERR_REQUEST", "a file is put as a whole: leave Content-Range out");
  }
  if ((c.req.header("content-encoding") ?? "identity") !== "identity") {
    throw new Problem("ERR_MEDIA_TYPE", "send the file as it is: leave Content-Encoding out");
  }
}

/** Node's own stream where there is one: that is faster. Who is refused half-way gets an answer, so it stays open. */
function bodyOf(c: Context<ApiEnv>): AsyncIterable<Uint8Array> {
  const incoming = c.env?.incoming?.iterator({ destroyOnReturn: false });
  return incoming ?? (c.req.raw.body as AsyncIterable<Uint8Array> | null) ?? nothingAtAll();
}

async function* nothingAtAll(): AsyncGenerator<Uint8Array> {}

function sizeOf(c: Context<ApiEnv>): number | null {
  const length = c.req.header("content-length");
  return length === undefined ? null : Number(length);
}

async function* count(source: AsyncIterable<Uint8Array>, add: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    add(chunk.length);
    yield chunk;
  }
}
