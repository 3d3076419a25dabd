// What TypeScript calls .js is the .ts beside it, which Node runs as it is.
export * from "./linkbox.ts";
