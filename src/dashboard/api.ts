/** The REST interface, as this page uses it. Shapes are those that the server validates with. */
import type { z } from "zod";
import type * as schemas from "../server/http/schemas.js";

export type Me = z.infer<typeof schemas.MeSchema>;
export type Folder = z.infer<typeof schemas.FolderSchema>;
export type Entry = z.infer<typeof schemas.EntrySchema>;
export type Version = z.infer<typeof schemas.VersionSchema>;
export type Device = z.infer<typeof schemas.DeviceSchema>;
export type Invitation = z.infer<typeof schemas.InvitationSchema>;
export type CreatedInvitation = z.infer<typeof schemas.CreatedInvitation>;
export type User = z.infer<typeof schemas.UserSchema>;
export type Session = z.infer<typeof schemas.SessionSchema>;
export type ActiveTransfer = z.infer<typeof schemas.ActiveTransferSchema>;
export type Transfer = z.infer<typeof schemas.TransferSchema>;
export type Statistics = z.infer<typeof schemas.StatisticsSchema>;
export type AuditEntry = z.infer<typeof schemas.AuditSchema>;
export type Restored = z.infer<typeof schemas.RestoredSchema>;

export interface Page<T> {
  readonly items: readonly T[];
  /** For the query of the page behind this one; null at the end, absent where a list comes whole. */
  readonly next?: string | null;
}

/** What the server refused or could not do, in its own words. `code` is one of docs/errors.md. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

type Query = Record<string, string | number | undefined>;

export function get<T>(path: string, query: Query = {}): Promise<T> {
  return request<T>("GET", address(path, query));
}

export function post<T = void>(path: string, body?: unknown): Promise<T> {
  return request<T>("POST", address(path), body);
}

export function put<T = void>(path: string, body: unknown): Promise<T> {
  return request<T>("PUT", address(path), body);
}

export function patch<T = void>(path: string, body: unknown): Promise<T> {
  return request<T>("PATCH", address(path), body);
}

export function remove(path: string): Promise<void> {
  return request("DELETE", address(path));
}

/** Of a file's content, for links; of a kept version where one is named. */
export function contentAddress(folder: string, path: string, version?: number): string {
  const name = path.split("/").map(encodeURIComponent).join("/");
  return address(`/folders/${encodeURIComponent(folder)}/files/${name}`, { version });
}

/** Below the page's own address, so that a server behind a proxy's path works as well. */
export function address(path: string, query: Query = {}): string {
  const url = new URL(`api/v1${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.href;
}

async function request<T>(method: string, url: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    });
  } catch {
    throw new ApiError(0, "ERR_CONNECT", "The server does not answer. Is it running?");
  }
  const json: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw problemOf(response, json);
  return json as T;
}

function problemOf(response: Response, json: unknown): ApiError {
  const { code, detail, title } = (json ?? {}) as { code?: string; detail?: string; title?: string };
  const message = detail ?? title ?? response.statusText;
  return new ApiError(
    response.status,
    code ?? "ERR_INTERNAL",
    `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`,
  );
}
