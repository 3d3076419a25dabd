/** The HTTP application over a database in memory, with mirrors that a test fills by hand. */
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAuth } from "../../src/server/auth/auth.js";
import { hashPassword } from "../../src/server/auth/passwords.js";
import type { Auth } from "../../src/server/auth/types.js";
import { openDatabase } from "../../src/server/database/open.js";
import type { Database, FileRecord, Folder, FolderLimits, Role, Token } from "../../src/server/database/types.js";
import { type DeletesAnswer, requireHeld } from "../../src/server/held-deletes.js";
import {
  type ApiOptions,
  createApi,
  EventHub,
  type FolderStorage,
  type LiveSession,
  type LiveTransfer,
  type Mirrors,
  Problem,
  type RestoreRequest,
  type Upload,
} from "../../src/server/http/index.js";
import type { Api } from "../../src/server/http/router.js";
import type { HeldDeletes } from "../../src/sync/index.js";

export const PASSWORD = "correct horse battery";
let passwordHash: Promise<string> | undefined;

/** Mirrors without folders on disk: what is put is remembered. */
export class FakeMirrors implements Mirrors {
  readonly files = new Map<string, Buffer>();
  readonly restored: RestoreRequest[] = [];
  readonly ended: string[] = [];
  /** Where limits are set. */
  database: Database | undefined;
  live: LiveSession[] = [];
  moving: LiveTransfer[] = [];
  /** Thrown by what changes something. */
  refusal: Error | undefined;
  /** Handles that were given out. Each has to be closed. */
  readonly opened: { closed: boolean }[] = [];
  readonly #folder = fs.mkdtempSync(join(tmpdir(), "confundo-api-"));

  sessions(): LiveSession[] {
    return this.live;
  }

  transfers(): LiveTransfer[] {
    return this.moving;
  }

  readonly answers: DeletesAnswer[] = [];

  async answerDeletes(answer: DeletesAnswer): Promise<HeldDeletes> {
    const session = this.live.find(({ folder }) => folder === answer.folder);
    const held = requireHeld(answer.folder, session?.heldDeletes ?? undefined, answer.id);
    this.answers.push(answer);
    return held;
  }

  endSession(id: string): boolean {
    this.ended.push(id);
    return this.live.some((session) => session.id === id);
  }

  async open(folder: string, path: string, version?: number) {
    const content = this.files.get(`${folder}/${path}${version === undefined ? "" : `@${version}`}`);
    if (content === undefined) return undefined;
    const file = join(this.#folder, String(this.opened.length));
    fs.writeFileSync(file, content);
    const handle = await open(file);
    const state = { closed: false };
    this.opened.push(state);
    const close = handle.close.bind(handle);
    handle.close = () => {
      state.closed = true;
      return close();
    };
    return { handle, size: content.length, modifiedAt: MODIFIED_AT, sha256: hex(content) };
  }

  async place({ folder, path, content, expected, sha256 }: Upload) {
    if (this.refusal !== undefined) throw this.refusal;
    const there = this.files.get(`${folder}/${path}`);
    if (expected === "absent" && there !== undefined) throw new Problem("ERR_PRECONDITION", "there is one already");
    if (Array.isArray(expected) && (there === undefined || !expected.includes(hex(there)))) {
      throw new Problem("ERR_PRECONDITION", "it is another one");
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const all = Buffer.concat(chunks);
    if (sha256 !== null && sha256 !== hex(all)) throw new Problem("ERR_CHECKSUM", "it is not what was announced");
    this.files.set(`${folder}/${path}`, all);
    const record: FileRecord = {
      folder,
      path,
      kind: "file",
      size: all.length,
      mode: 0o644,
      mtimeNs: BigInt(MODIFIED_AT) * 1_000_000n,
      sha256: hex(all),
      target: null,
      version: 1,
      storedAt: MODIFIED_AT,
    };
    return { record, created: there === undefined };
  }

  async remove({ folder, path }: { folder: string; path: string }): Promise<void> {
    if (this.refusal !== undefined) throw this.refusal;
    if (!this.files.delete(`${folder}/${path}`)) throw new Problem("ERR_NOT_FOUND", "there is no such file");
  }

  async restore(request: RestoreRequest) {
    this.restored.push(request);
    return { changed: 1, files: 1, removed: 0, unchanged: 0, bytes: 10 };
  }

  async resume(): Promise<boolean> {
    return true;
  }

  storage({ quotaBytes, storageLimitBytes, maxEntries, bytes, versionBytes }: Folder): FolderStorage {
    const limits = { quotaBytes, storageBytes: storageLimitBytes, entries: maxEntries };
    return { bytes: bytes + versionBytes, unfinishedBytes: 0, limits };
  }

  async setLimits(name: string, limits: Partial<FolderLimits>): Promise<Folder> {
    await this.database?.folders.setLimits(name, limits);
    return (await this.database?.folders.byName(name)) as Folder;
  }

  quotaFigures() {
    return { refused: { quota: 1, storage: 2, entries: 0 }, evictedVersions: 3, evictedBytes: 4, evictedUploads: 5 };
  }

  async deleteFolder(folder: string, graceMs: number): Promise<Folder> {
    const record = await this.database?.folders.byName(folder);
    if (record === undefined) throw new Problem("ERR_NO_FOLDER", "there is none");
    const [deletedAt, purgeAt] = [Date.now(), Date.now() + graceMs];
    await this.database?.folders.delete(folder, deletedAt, purgeAt);
    return { ...record, deletedAt, purgeAt };
  }

  async undeleteFolder(folder: string): Promise<Folder> {
    await this.database?.folders.undelete(folder);
    const record = await this.database?.folders.byName(folder);
    if (record === undefined) throw new Problem("ERR_NO_FOLDER", "there is none");
    return record;
  }

  dispose(): void {
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

export const MODIFIED_AT = Date.parse("2026-11-20T10:00:00Z");

export class ApiRig implements AsyncDisposable {
  readonly database: Database;
  readonly auth: Auth;
  readonly mirrors = new FakeMirrors();
  readonly hub: EventHub;
  readonly options: ApiOptions;
  readonly app: Api;
  adminToken = "";

  private constructor(database: Database, more: Partial<ApiOptions>) {
    this.database = database;
    this.auth = createAuth({ database });
    const { auth, mirrors } = this;
    mirrors.database = database;
    this.hub = new EventHub({ database, auth, mirrors });
    const pairingAddress = (folder: string | null, code: string) => `confundo://127.0.0.1:5000/${folder ?? ""}#${code}`;
    this.options = { database, auth, mirrors, hub: this.hub, pairingAddress, ...more };
    this.app = createApi(this.options).app;
  }

  /** With an administrator `admin`, and a folder `photos`. */
  static async start(more: Partial<ApiOptions> = {}): Promise<ApiRig> {
    const rig = new ApiRig(await openDatabase({ path: ":memory:" }), more);
    rig.adminToken = await rig.user("admin", "admin");
    await rig.database.folders.ensure("photos");
    return rig;
  }

  async user(name: string, role: Role = "user", folders: Record<string, "read" | "write"> = {}): Promise<string> {
    // Made once: a hash of a password takes its time, on purpose.
    passwordHash ??= hashPassword(PASSWORD);
    const { id } = await this.database.users.create({ name, role, passwordHash: await passwordHash });
    for (const [folder, access] of Object.entries(folders)) {
      await this.database.grants.set({ subject: "user", subjectId: id, folder, access });
    }
    return this.session(name);
  }

  /** The token of a session, as a login makes it. */
  async session(name: string, expiresInMs = 7 * 86_400_000, kind: Token["kind"] = "session"): Promise<string> {
    const user = await this.database.users.byName(name);
    const secret = randomBytes(32).toString("base64url");
    const scopes = [{ folder: null, access: "write" as const }];
    const at = Date.now();
    const times = { createdAt: at, expiresAt: at + expiresInMs };
    const hash = hex(secret);
    await this.database.tokens.create({
      kind,
      name: "login",
      userId: user?.id ?? "",
      hash,
      scopes,
      ...times,
    });
    return secret;
  }

  async token(user: string, scopes: Token["scopes"], expiresInMs: number | null = null): Promise<string> {
    return (await this.auth.createToken({ kind: "local" }, { user, name: "test", scopes, expiresInMs })).token;
  }

  /** Asks as the administrator, unless `token` says who; null: nobody. */
  async ask(method: string, path: string, options: AskOptions = {}): Promise<Response> {
    const { token = this.adminToken, json, body, headers = {} } = options;
    const said: Record<string, string> = { ...headers };
    if (token !== null) said.authorization = `Bearer ${token}`;
    if (json !== undefined) said["content-type"] = "application/json";
    const content = json === undefined ? body : JSON.stringify(json);
    return this.app.request(path, { method, headers: said, ...(content === undefined ? {} : { body: content }) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hub.close();
    this.mirrors.dispose();
    await this.database.close();
  }
}

export interface AskOptions {
  readonly token?: string | null;
  readonly json?: unknown;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

export function hex(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}
