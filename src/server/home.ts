/** Where mirrors live: each in its folder under one directory, each with one client at a time. */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Duplex } from "node:stream";
import { makeFolder } from "../files/make-folder.js";
import type { SocketStats } from "../stream/index.js";
import {
  type Admission,
  type Arriving,
  type HeldDeletes,
  type Hello,
  type ReceiveEvent,
  type ReceiveSession,
  receive,
  Storage,
  SyncError,
} from "../sync/index.js";
import type { Access } from "./database/types.js";
import { HeldDeletesFiles } from "./held-deletes.js";
import { mirrorNameProblem } from "./name.js";
import { Owners } from "./owners.js";
import { Reuses } from "./reuses.js";
import type { Keeper, Keeping } from "./versions/keeper.js";

/** What a home reports: what its sessions do, and for whom. Plain data. */
export type HomeEvent = ReceiveEvent & {
  readonly peer: string;
  /** The device's id; null where there are none (`insecure`). */
  readonly device: string | null;
};

/** Who is at the other end of a connection. */
export interface Visitor {
  /** Address and port, for the events. */
  readonly peer: string;
  /** The device's id. */
  readonly device?: string | null;
  /** What it may do with a folder; null: nothing. Default: write. What it throws (a {@link SyncError}) is told to the client. */
  readonly access?: (folder: string) => Promise<Access | null>;
  /** How its connection does. */
  readonly stats?: () => SocketStats;
  /** Called when its session has ended: gives its place back. */
  readonly leave?: () => void;
}

/** A connection that is open now. */
export interface HomeSession {
  readonly id: string;
  /** Empty until the client has said which. */
  readonly folder: string;
  /** What the client calls itself. */
  readonly label: string;
  readonly device: string | null;
  readonly peer: string;
  /** Milliseconds since 1970. */
  readonly openedAt: number;
  /** `settled` when the client has said last that the mirror is in step. */
  readonly state: "syncing" | "settled";
  readonly stats: (() => SocketStats) | undefined;
  /** Deletes that the client holds back until they are approved. */
  readonly held: HeldDeletes | null;
  /** The large files that it is sending. */
  readonly arriving: () => Arriving[];
}

export interface MirrorHomeOptions {
  /** Mirrors are kept in `dir/NAME/`, unfinished files in `dir/.confundo/staging/NAME/`. Made when missing. */
  readonly dir: string;
  /** For logs. What it throws is turned into a process warning. */
  readonly onEvent?: (event: HomeEvent) => void;
  /** Writes down what is mirrored and keeps what goes. Default: nobody does. */
  readonly keeper?: Keeper;
  /** Milliseconds; see docs/sync-protocol.md for the defaults. */
  readonly pingMs?: number;
  readonly silenceMs?: number;
  readonly handshakeMs?: number;
  readonly scrubMs?: number;
  /** How long the session of another run of the same client has to show that it lives. Default 1500. */
  readonly probeMs?: number;
}

interface Tenant {
  readonly clientId: string;
  readonly instanceId: string;
  readonly label: string;
  readonly replaces?: string;
  readonly session: ReceiveSession;
}

const PROBE_MS = 1500;

/**
 * Receives mirrors over any Duplex. One client at a time may write a mirror: another gets `ERR_MIRROR_BUSY`. A client
 * that comes back replaces its own older session at once; another run of the same client does so when the older one
 * no longer answers.
 */
export class MirrorHome {
  readonly dir: string;
  readonly #options: MirrorHomeOptions;
  readonly #tenants = new Map<string, Tenant>();
  readonly #sessions = new Map<ReceiveSession, HomeSession>();
  readonly #reuses = new Reuses(() => this.openSessions.some(({ state }) => state === "syncing"));
  readonly #owners: Owners;
  readonly #heldDeletes: HeldDeletesFiles;
  #nextId = 1;
  /** For each mirror, the last of those that want in: they are looked at one after the other. */
  readonly #doors = new Map<string, Promise<unknown>>();
  #closing = false;

  /** Throws what the system throws when the directory cannot be made. */
  constructor(options: MirrorHomeOptions) {
    makeFolder(options.dir, 0o700);
    this.dir = realpathSync(resolve(options.dir));
    this.#options = options;
    this.#owners = new Owners(`${this.dir}/.confundo/owners`);
    this.#heldDeletes = new HeldDeletesFiles(this.dir);
    this.#heldDeletes.clear();
  }

  /** Sessions that are open. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Each of them as it is now. */
  get openSessions(): readonly HomeSession[] {
    return [...this.#sessions.values()];
  }

  /** Serves one client over `duplex`, which it takes over. Never throws. */
  handle(duplex: Duplex, visitor: Visitor = { peer: "" }): void {
    const { onEvent, pingMs, silenceMs, handshakeMs, scrubMs } = this.#options;
    const { peer, device = null } = visitor;
    let keeping: Keeping | undefined;
    const session = receive(duplex, {
      admit: (hello, session) =>
        this.#admit({ ...hello, session }, visitor, (opened) => {
          keeping = opened;
        }),
      onEvent: (event) => {
        this.#follow(session, event);
        keeping?.onEvent(event);
        onEvent?.({ ...event, peer, device });
      },
      ...(pingMs === undefined ? {} : { pingMs }),
      ...(silenceMs === undefined ? {} : { silenceMs }),
      ...(handshakeMs === undefined ? {} : { handshakeMs }),
      ...(scrubMs === undefined ? {} : { scrubMs }),
    });
    const id = `${this.#nextId++}`;
    const opened = {
      folder: "",
      label: "",
      openedAt: Date.now(),
      state: "syncing" as const,
      held: null,
      stats: visitor.stats,
    };
    this.#sessions.set(session, { id, peer, device, ...opened, arriving: () => session.arriving() });
    void session.closed.then(() => {
      this.#sessions.delete(session);
      visitor.leave?.();
    });
    if (this.#closing) session.end(closing());
  }

  /** Tells the client of a mirror what a person says of the deletes that it holds back. False: it holds back others, or none. */
  approve(name: string, id: string, approved: boolean): boolean {
    const session = this.#tenants.get(keyOf(name))?.session;
    if (session === undefined || this.#sessions.get(session)?.held?.id !== id) return false;
    session.approve(id, approved);
    return true;
  }

  /** Ends the session that writes a mirror, telling the client why, and waits until nothing of it is being written. */
  async endSession(name: string, reason: SyncError): Promise<void> {
    const session = this.#tenants.get(keyOf(name))?.session;
    session?.end(reason);
    await session?.closed;
  }

  /** Ends the sessions that `which` picks, telling the clients why; how many they were. */
  end(which: (session: HomeSession) => boolean, reason: SyncError): number {
    const ending = [...this.#sessions].filter(([, session]) => which(session));
    for (const [session] of ending) session.end(reason);
    return ending.length;
  }

  /** Resolves when it is written down what the files consist of that have come: then their chunks are found in others. */
  idle(): Promise<void> {
    return this.#reuses.idle();
  }

  /** Ends all sessions, telling the clients to come back later, and waits until nothing is being written. */
  async close(): Promise<void> {
    this.#closing = true;
    const sessions = [...this.#sessions.keys()];
    for (const session of sessions) session.end(closing());
    await Promise.all(sessions.map(({ closed }) => closed));
    await this.#reuses.close();
  }

  #follow(session: ReceiveSession, event: ReceiveEvent): void {
    const known = this.#sessions.get(session);
    if (known === undefined) return;
    if (event.type === "opened") this.#sessions.set(session, { ...known, label: event.label });
    else if (event.type === "deletes") this.#hold(session, known, event.held);
    else if (event.type === "settled") this.#sessions.set(session, { ...known, state: "settled" });
    else if (known.state === "settled" && event.type !== "agreed")
      this.#sessions.set(session, { ...known, state: "syncing" });
  }

  #hold(session: ReceiveSession, known: HomeSession, held: HeldDeletes | null): void {
    this.#sessions.set(session, { ...known, held });
    if (this.#tenants.get(keyOf(known.folder))?.session === session) this.#heldDeletes.set(known.folder, held);
  }

  async #admit(
    candidate: Hello & Tenant,
    { access, device = null }: Visitor,
    onKept: (keeping: Keeping) => void,
  ): Promise<Admission> {
    const { name } = candidate;
    const problem = mirrorNameProblem(name);
    if (problem !== undefined)
      throw new SyncError("ERR_MIRROR_NAME", `"${name}" cannot be a mirror's name: ${problem}`);
    // Before it is asked: from now on a change of what the device may do ends the session.
    const known = this.#sessions.get(candidate.session);
    if (known !== undefined) this.#sessions.set(candidate.session, { ...known, folder: name });
    const allowed = access === undefined ? "write" : await access(name);
    if (allowed === null) throw new SyncError("ERR_FORBIDDEN", `this device was not given the folder "${name}"`);
    const root = `${this.dir}/${name}`;
    const staging = `${this.dir}/.confundo/staging`;
    // Who changes nothing is in nobody's way, and clears nobody's unfinished files.
    if (allowed === "read") {
      await this.#options.keeper?.deletion.refuse(name);
      return { storage: new Storage(root, `${staging}/.readers`), readOnly: true, release: () => {} };
    }
    const key = keyOf(name);
    const before = this.#doors.get(key) ?? Promise.resolve();
    const turn = before.then(() => this.#takeOver(key, candidate));
    const settled = turn.catch(() => {});
    this.#doors.set(key, settled);
    void settled.then(() => this.#doors.get(key) === settled && this.#doors.delete(key));
    await turn;
    const leave = (): void => void (this.#tenants.get(key)?.session === candidate.session && this.#tenants.delete(key));
    const { keeper } = this.#options;
    try {
      // When the place is ours: a folder that is put on hold from now on ends this session.
      const keeping = await keeper?.open(name, device);
      if (keeping !== undefined) onKept(keeping);
      const storage = new Storage(root, `${staging}/${name}`, {
        reuse: this.#reuses.of(key, { root, dir: `${this.dir}/.confundo`, name, archive: keeping?.archive }),
        hashes: `${this.dir}/.confundo/hashes/${name}`,
        ...(keeping === undefined ? {} : { archive: keeping.archive }),
      });
      const release = (): void => {
        if (this.#tenants.get(key)?.session === candidate.session) this.#heldDeletes.set(name, null);
        this.#reuses.leave(key);
        keeping?.end();
        leave();
      };
      const { clientId, label } = candidate;
      const claim = (source: string): void => this.#owners.set(name, { source, clientId, label, since: Date.now() });
      const whose = { ...this.#owners.relationTo(candidate), claim };
      return { storage, release, ...whose, ...(keeping === undefined ? {} : stepsOf(keeping)) };
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #takeOver(key: string, candidate: Tenant & { name: string }): Promise<void> {
    if (this.#closing) throw closing();
    const holder = this.#tenants.get(key);
    if (holder !== undefined) {
      const sameClient = holder.clientId === candidate.clientId;
      const ours = [candidate.instanceId, candidate.replaces];
      const comesBack = sameClient && ours.includes(holder.instanceId);
      const alive = !comesBack && (!sameClient || (await holder.session.probe(this.#options.probeMs ?? PROBE_MS)));
      if (alive) {
        const who = holder.label === "" ? "another client" : holder.label;
        throw new SyncError("ERR_MIRROR_BUSY", `the mirror "${candidate.name}" is in use by ${who}`);
      }
      holder.session.end(new SyncError("ERR_REPLACED", "a newer session of the same client has taken over"));
      await holder.session.closed;
    }
    this.#tenants.set(key, candidate);
  }
}

function stepsOf({ admitBytes, onRecorded, room }: Keeping): Pick<Admission, "admitBytes" | "onRecorded" | "room"> {
  return { admitBytes, onRecorded, room };
}

/** Where the file system takes two spellings for one folder, so do we. */
function keyOf(name: string): string {
  return process.platform === "linux" ? name : name.normalize("NFC").toLowerCase();
}

function closing(): SyncError {
  return new SyncError("ERR_SERVER_CLOSING", "the server is closing");
}
