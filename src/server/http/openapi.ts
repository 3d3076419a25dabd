/** The OpenAPI document, from the schemas that validate. */
import type { Api } from "./router.js";

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
      cookie: { type: "apiKey", in: "cookie", name: "confundo_session" },
    },
  };
  // What the router needs to know of a parameter with slashes in it is no part of the path.
  document.paths = Object.fromEntries(
    Object.entries(document.paths ?? {}).map(([path, item]) => [path.replace("{.+}", ""), item]),
  );
  return document;
}
