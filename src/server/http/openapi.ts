/** The OpenAPI document, from the schemas that validate. */
import { type Api, REST_OF_PATH } from "./router.js";

export function openApiDocument(app: Api, version: string) {
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Confundo",
      version,
      description: "The mirrors' home. Errors are problem details (RFC 9457), with codes explained in docs/errors.md.",
    },
    servers: [{ url: "/" }],
  });
  document.components = {
    ...document.components,
    securitySchemes: {
      bearer: { type: "http", scheme: "bearer", description: "A token, or what a login answered." },
      cookie: {
        type: "apiKey",
        in: "cookie",
        name: "__Host-confundo_session",
        description: "What a login sets. Over plain HTTP it is called confundo_session.",
      },
    },
  };
  // What the router needs to know of a parameter with slashes in it is no part of the path.
  document.paths = Object.fromEntries(
    Object.entries(document.paths ?? {}).map(([path, item]) => [path.replace(REST_OF_PATH, ""), item]),
  );
  return document;
}
