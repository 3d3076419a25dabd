/** The mirrors of a home as the HTTP interface sees and changes them. */
import { type HeldDeletes, SyncError } from "../sync/index.js";
import type { FileRecord, Folder, FolderLimits } from "./database/types.js";
import { answerDeletes, requireHeld } from "./held-deletes.js";
import type { HomeSession, MirrorHome } from "./home.js";
import type {
  ConnectionFigures,
  FolderStorage,
  LiveSession,
  LiveTransfer,
  Mirrors,
  OpenFile,
  Removal,
  Restored,
  RestoreRequest,
  Upload,
} from "./http/mirrors.js";
import type { LimitCounters } from "./limits.js";
import { Shares } from "./shares.js";
import { Desk } from "./versions/desk.js";
import type { Keeper } from "./versions/keeper.js";

export class HomeMirrors implements Mirrors {
  readonly #home: MirrorHome;
  readonly #keeper: Keeper;
  readonly #desk: Desk;
  readonly #uploads = new Map<string, LiveTransfer>();
  readonly #shares: Shares;
  #nextUpload = 1;

  constructor(home: MirrorHome, keeper: Keeper, limits?: LimitCounters) {
    this.#shares = new Shares("uploads", limits);
    this.#home = home;
    this.#keeper = keeper;
    this.#desk = new Desk(keeper);
  }

  sessions(): LiveSession[] {
    return this.#home.openSessions.filter(({ folder }) => folder !== "").map(toLiveSession);
  }

  transfers(): LiveTransfer[] {
    const mirrored = this.#home.openSessions.flatMap(({ id, folder, arriving }) =>
      arriving().map((file) => ({ id: `${id}/${file.path}`, session: id, folder, ...file })),
    );
    return [...mirrored, ...this.#uploads.values()];
  }

  endSession(id: string): boolean {
    const reason = new SyncError("ERR_SERVER_CLOSING", "an administrator has ended the session");
    return this.#home.end((session) => session.id === id, reason) > 0;
  }

  open(folder: string, path: string, version?: number): Promise<OpenFile | undefined> {
    return this.#desk.open(folder, path, version);
  }

  async place(upload: Upload): Promise<{ record: FileRecord; created: boolean }> {
    const { folder, path, size, actor, administrator = false } = upload;
    const leave = this.#shares.enter({ user: actor, administrator });
    if (typeof leave !== "function") {
      const why = "the server receives as many files at once as it can, or as one user may send";
      throw new SyncError("ERR_TOO_MANY", `${why}; send fewer, or come back later`);
    }
    const id = `upload-${this.#nextUpload++}`;
    const transfer = { id, session: null, folder, path, size, startedAt: Date.now() };
    const onBytes = (bytes: number): void => void this.#uploads.set(id, { ...transfer, bytes });
    onBytes(0);
    try {
      return await this.#desk.place({ ...upload, content: counted(upload.content, onBytes) });
    } finally {
      leave();
      this.#uploads.delete(id);
    }
  }

  remove(removal: Removal): Promise<void> {
    return this.#desk.remove(removal);
  }

  async restore({ path, ...request }: RestoreRequest): Promise<Restored> {
    const { files, removed, bytes, unchanged } = await this.#keeper.restore({ ...request, path: path ?? "" });
    return { changed: files + removed, files, removed, unchanged, bytes };
  }

  storage(folder: Folder): FolderStorage {
    return this.#keeper.storage(folder);
  }

  setLimits(folder: string, limits: Partial<FolderLimits>): Promise<Folder> {
    return this.#keeper.setLimits(folder, limits);
  }

  quotaFigures(): ReturnType<Mirrors["quotaFigures"]> {
    return this.#keeper.quotaFigures;
  }

  async answerDeletes({ id, ...answer }: Parameters<Mirrors["answerDeletes"]>[0]): Promise<HeldDeletes> {
    const { folder } = answer;
    const session = this.#home.openSessions.find((each) => each.folder === folder && each.held !== null);
    const held = requireHeld(folder, session?.held ?? undefined, id);
    await answerDeletes(this.#keeper.database, { ...answer, id: held.id });
    return held;
  }

  resume(folder: string): Promise<boolean> {
    return this.#keeper.resume(folder);
  }

  deleteFolder(folder: string, graceMs: number): Promise<Folder> {
    return this.#keeper.deletion.delete(folder, graceMs);
  }

  undeleteFolder(folder: string): Promise<Folder> {
    return this.#keeper.deletion.undelete(folder);
  }
}

async function* counted(
  content: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    onBytes(bytes);
    yield chunk;
  }
}

function toLiveSession({ id, folder, device, label, peer, openedAt, state, held, stats }: HomeSession): LiveSession {
  const connection = stats === undefined ? null : figures(stats());
  return { id, folder, device, label, peer, openedAt, state, heldDeletes: held, connection };
}

function figures(stats: ReturnType<NonNullable<HomeSession["stats"]>>): ConnectionFigures {
  const { cwnd, ssthresh, bytesInFlight, smoothedRttMs, minRttMs, datagramsSent, datagramsReceived } = stats;
  const { retransmissions, timeouts, tier, edition, bytesAcknowledged: bytesSent, bytesReceived } = stats;
  return {
    cwnd,
    // Infinite before the first loss, which JSON cannot say.
    ssthresh: Number.isFinite(ssthresh) ? ssthresh : null,
    bytesInFlight,
    smoothedRttMs,
    minRttMs,
    bytesSent,
    bytesReceived,
    datagramsSent,
    datagramsReceived,
    retransmissions,
    timeouts,
    tier,
    edition,
  };
}
