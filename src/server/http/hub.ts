/**
 * Events to those who listen. Each event is encoded once for all; who reads slowly is sent less often what is only of the
 * moment, is fed numbered events page by page as it reads, and keeps no more than a bounded buffer here.
 */
import type { Subscription } from "rxjs";
import { addressKey } from "../auth/rate-limit.js";
import type { Auth, Peer } from "../auth/types.js";
import type { Access, Database, LoggedEvent } from "../database/types.js";
import { type LimitCounters, SHARES } from "../limits.js";
import { type Holder, Shares } from "../shares.js";
import { textFrame } from "./frames.js";
import { holderOf } from "./guard.js";
import type { LiveSession, LiveTransfer, Mirrors } from "./mirrors.js";
import type { UserPrincipal } from "./router.js";
import { CLOSE, Subscriber } from "./subscriber.js";
import type { EventSocket } from "./upgrade.js";

export interface HubOptions {
  readonly auth: Auth;
  readonly database: Database;
  readonly mirrors: Mirrors;
  /** At most so many listen at once. Default 2048. */
  readonly mostSubscribers?: number;
  /** Counts what the limits refuse. */
  readonly limits?: LimitCounters;
  /** Between two looks at connections and transfers. Default 1000 ms. */
  readonly everyMs?: number;
  readonly now?: () => number;
}

export interface Listener {
  readonly who: UserPrincipal;
  readonly token: string;
  readonly peer: Peer;
  /** The number of the last event it has; null: only those from now on. */
  readonly after: number | null;
  /** Whether it is told how connections and transfers do, too. */
  readonly live: boolean;
}

/** The folders that somebody may see; null: all, and what belongs to no folder. */
export type Sight = ReadonlyMap<string, Access> | null;

interface Moment {
  readonly sessions: readonly LiveSession[];
  readonly transfers: readonly LiveTransfer[];
}

interface Encoded {
  readonly event: LoggedEvent;
  readonly frame: Buffer;
}

const EVERY_MS = 1000;
/** What comes within this time goes out together. */
const GATHER_MS = 20;
/** The newest events stay encoded for those who are a little behind. */
const RECENT_EVENTS = 2048;
const PAGE = 200;
const PAGE_BYTES = 64 * 1024;
const CHECK_MS = 30_000;
/** What is of the moment takes at most so much of the machine: where many listen to many, it is told less often. */
const MOMENT_BYTES_PER_S = 8 * 1024 * 1024;
/** After these, what somebody may see can be another: at once instead of at the next check. */
const RIGHTS = /^(?:grants?|users?|tokens?)\b/;

export class EventHub {
  readonly #options: HubOptions;
  readonly #subscribers = new Set<Subscriber>();
  readonly #shares: Shares;
  readonly #live: Subscription;
  readonly #timer: NodeJS.Timeout;
  /** In order, without gaps in what the log had. */
  #recent: Encoded[] = [];
  #fresh: Encoded[] = [];
  #gathering: NodeJS.Timeout | undefined;
  #last = 0;
  #checkedAt: number;
  #beatAt: number;
  /** What those who see the same were told last of the moment. */
  #told = new Map<string, string>();
  #nextMomentAt = 0;
  #closed = false;
  readonly #onRights = new Set<() => void>();

  constructor(options: HubOptions) {
    this.#options = options;
    this.#checkedAt = this.#now();
    this.#beatAt = this.#checkedAt;
    const { total, forAdministrators } = SHARES.webSockets;
    const most = options.mostSubscribers ?? total;
    this.#shares = new Shares("webSockets", options.limits, {
      ...SHARES.webSockets,
      total: most,
      forAdministrators: Math.floor((most * forAdministrators) / total),
    });
    this.#live = options.database.events.live$.subscribe((event) => this.#take(event));
    this.#timer = setInterval(() => this.#tick(), options.everyMs ?? EVERY_MS);
    this.#timer.unref();
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  /** Whether somebody has to be kept out: the server is full, or they have their share. */
  refuses(listener: Pick<Listener, "who" | "peer">): boolean {
    return this.#closed || this.#shares.refusal(shareOf(listener)) !== undefined;
  }

  /** The number of the newest event. */
  get last(): number {
    return this.#last;
  }

  /** Calls back when what somebody may do can be another from now on. */
  whenRightsChange(listener: () => void): void {
    this.#onRights.add(listener);
  }

  /** Takes a WebSocket over. */
  add(socket: EventSocket, listener: Listener): void {
    const leave = this.#closed ? undefined : this.#shares.enter(shareOf(listener));
    if (typeof leave !== "function") {
      socket.webSocket.close(...CLOSE.full);
      return;
    }
    const subscriber = new Subscriber(socket, listener, {
      page: (after, sight) => this.#page(after, sight),
      gone: (after) => this.#gone(after),
      silent: () => this.#options.limits?.add("missedPings"),
      leave: () => {
        leave();
        this.#subscribers.delete(subscriber);
      },
    });
    this.#subscribers.add(subscriber);
    void this.#welcome(subscriber, listener);
  }

  /** Ends all, who may come back. */
  close(): void {
    this.#closed = true;
    this.#live.unsubscribe();
    clearInterval(this.#timer);
    clearTimeout(this.#gathering);
    for (const subscriber of [...this.#subscribers]) subscriber.end(...CLOSE.goingAway);
  }

  async #welcome(subscriber: Subscriber, { who, after }: Listener): Promise<void> {
    try {
      const { auth, database } = this.#options;
      const [sight, last] = await Promise.all([auth.folders(who), database.events.last()]);
      this.#last = Math.max(this.#last, last);
      // A number from another log than this one.
      const lost = after !== null && after > last ? [this.#gone(after)] : [];
      const hello = Buffer.concat([textFrame({ type: "hello", at: this.#now(), data: { last } }), ...lost]);
      subscriber.begin(sight, Math.min(after ?? last, last), hello);
      if (subscriber.listener.live) subscriber.moment(this.#framesOf(this.#momentOf(sight)));
    } catch {
      subscriber.end(...CLOSE.failed);
    }
  }

  #take(event: LoggedEvent): void {
    const encoded = { event, frame: textFrame(event) };
    this.#last = event.id;
    this.#recent.push(encoded);
    if (this.#recent.length > 2 * RECENT_EVENTS) this.#recent = this.#recent.slice(-RECENT_EVENTS);
    this.#fresh.push(encoded);
    this.#gathering ??= setTimeout(() => this.#distribute(), GATHER_MS);
    if (!RIGHTS.test(event.type)) return;
    this.#checkedAt = Number.NEGATIVE_INFINITY;
    for (const listener of this.#onRights) listener();
  }

  /** The same bytes for all who see the same folders. */
  #distribute(): void {
    this.#gathering = undefined;
    const fresh = this.#fresh;
    this.#fresh = [];
    const [first, last] = [fresh[0], fresh.at(-1)];
    if (first === undefined || last === undefined) return;
    if (this.#checkedAt === Number.NEGATIVE_INFINITY) void this.#check();
    const forSight = new Map<string, Buffer>();
    for (const subscriber of this.#subscribers) {
      const { sight, sightKey } = subscriber;
      const bytes = forSight.get(sightKey) ?? joined(fresh, sight);
      forSight.set(sightKey, bytes);
      subscriber.news(bytes, first.event.id, last.event.id);
    }
  }

  /** Events after a number that somebody may see, as they are read: from memory where they are there. */
  async #page(after: number, sight: Sight): Promise<{ bytes: Buffer; last: number; gone: boolean; more: boolean }> {
    const oldest = this.#recent[0];
    const fromMemory = oldest !== undefined && after >= oldest.event.id;
    const { events, gone } = fromMemory
      ? { events: this.#recentAfter(after), gone: false }
      : await this.#eventsAfter(after);
    const seen: Buffer[] = [];
    let bytes = 0;
    let last = after;
    for (const { event, frame } of events) {
      last = event.id;
      if (!isSeen(event, sight)) continue;
      seen.push(frame);
      bytes += frame.length;
      if (bytes >= PAGE_BYTES) break;
    }
    return { bytes: Buffer.concat(seen), last, gone, more: last > after && last < this.#last };
  }

  #recentAfter(after: number): Encoded[] {
    const from = this.#recent.findIndex(({ event }) => event.id > after);
    return from < 0 ? [] : this.#recent.slice(from, from + PAGE);
  }

  async #eventsAfter(after: number): Promise<{ events: Encoded[]; gone: boolean }> {
    const { events, gone } = await this.#options.database.events.since(after, PAGE);
    // Those of other processes may be there before they are heard of.
    this.#last = Math.max(this.#last, events.at(-1)?.id ?? 0);
    return { events: events.map((event) => ({ event, frame: textFrame(event) })), gone };
  }

  /** Once a second: what is only of the moment, expired tokens, and now and then whether everybody may still listen. */
  #tick(): void {
    if (this.#subscribers.size === 0) return;
    const now = this.#now();
    for (const subscriber of [...this.#subscribers]) {
      const { expiresAt } = subscriber.listener.who.token;
      if (expiresAt !== null && expiresAt <= now) subscriber.end(...CLOSE.unauthenticated);
    }
    if (now >= this.#nextMomentAt) this.#nextMomentAt = now + (this.#tellMoment() / MOMENT_BYTES_PER_S) * 1000;
    // By itself: changes of rights are followed by checks, and would put it off for ever.
    if (now - this.#beatAt >= CHECK_MS) {
      this.#beatAt = now;
      for (const subscriber of [...this.#subscribers]) subscriber.beat();
    }
    if (now - this.#checkedAt >= CHECK_MS) void this.#check();
  }

  /** Tells how connections and transfers do, where that has changed. Returns how many bytes that took. */
  #tellMoment(): number {
    let bytes = 0;
    const told = new Map<string, string>();
    const frames = new Map<string, Buffer | undefined>();
    for (const subscriber of this.#subscribers) {
      const { sight, sightKey, listener } = subscriber;
      if (!subscriber.ready || !listener.live) continue;
      if (!told.has(sightKey)) {
        const moment = this.#momentOf(sight);
        const key = JSON.stringify(moment);
        told.set(sightKey, key);
        frames.set(sightKey, key === this.#told.get(sightKey) ? undefined : this.#framesOf(moment));
      }
      const frame = frames.get(sightKey);
      if (frame === undefined) continue;
      subscriber.moment(frame);
      bytes += frame.length;
    }
    this.#told = told;
    return bytes;
  }

  #momentOf(sight: Sight): Moment {
    const { mirrors } = this.#options;
    const seen = ({ folder }: { readonly folder: string }) => sight === null || sight.has(folder);
    return { sessions: mirrors.sessions().filter(seen), transfers: mirrors.transfers().filter(seen) };
  }

  #framesOf({ sessions, transfers }: Moment): Buffer {
    const at = this.#now();
    return Buffer.concat([
      textFrame({ type: "sessions", at, data: { sessions } }),
      textFrame({ type: "transfers", at, data: { transfers } }),
    ]);
  }

  #gone(after: number): Buffer {
    return textFrame({ type: "gone", at: this.#now(), data: { after } });
  }

  /** Whether those who listen may still, and what they see: once for each token. */
  async #check(): Promise<void> {
    this.#checkedAt = this.#now();
    const byToken = new Map<string, Subscriber[]>();
    for (const subscriber of this.#subscribers) {
      const same = byToken.get(subscriber.listener.token);
      if (same === undefined) byToken.set(subscriber.listener.token, [subscriber]);
      else same.push(subscriber);
    }
    for (const [token, subscribers] of byToken) {
      try {
        const who = await this.#options.auth.authenticate(token, (subscribers[0] as Subscriber).listener.peer);
        const sight = await this.#options.auth.folders(who);
        for (const subscriber of subscribers) subscriber.see(sight);
      } catch (error) {
        // A good token is never limited: one that is, is not good any more.
        const { code } = error as { code?: unknown };
        if (code !== "ERR_UNAUTHENTICATED" && code !== "ERR_RATE_LIMITED") continue;
        for (const subscriber of subscribers) subscriber.end(...CLOSE.unauthenticated);
      }
    }
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }
}

function shareOf({ who, peer }: Pick<Listener, "who" | "peer">): Holder {
  return { ...holderOf(who), address: addressKey(peer.address) };
}

function joined(events: readonly Encoded[], sight: Sight): Buffer {
  const seen = events.filter(({ event }) => isSeen(event, sight));
  return seen.length === 1 && seen[0] !== undefined ? seen[0].frame : Buffer.concat(seen.map(({ frame }) => frame));
}

function isSeen({ folder }: LoggedEvent, sight: Sight): boolean {
  return sight === null || (folder !== null && sight.has(folder));
}
