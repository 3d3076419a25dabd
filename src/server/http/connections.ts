/** The TCP connections of the HTTP port: how many there are, and whose. */
import type { Socket } from "node:net";
import { addressKey } from "../auth/rate-limit.js";
import { type LimitCounters, type LimitName, SHARES, type ShareLimits } from "../limits.js";
import type { TrustedProxies } from "./client-address.js";

interface Connection {
  readonly key: string;
  readonly socket: Socket;
  /** Undefined for a trusted proxy, which brings the requests of many. */
  readonly address: string | undefined;
  /** Who has shown a token in it; undefined until then. */
  user: string | undefined;
  administrator: boolean;
}

/** What of a socket tells it from others, above and below TLS. */
type Ends = Pick<Socket, "remoteAddress" | "remotePort">;

/**
 * Takes every connection in. Where there is no room, or an address has its share, the oldest one of nobody that is known
 * makes way, so that a flood of them keeps nobody out: an honest client needs a moment to show its token. Users have a share
 * of their own, and some room is administrators' only.
 */
export class Connections {
  readonly #proxies: TrustedProxies;
  readonly #limits: LimitCounters | undefined;
  readonly #shares: ShareLimits;
  readonly #all = new Map<string, Connection>();
  /** Those of nobody that is known and no trusted proxy's, in the order in which they came: all, and from each address. */
  readonly #strangers = new Set<Connection>();
  readonly #strangersOf = new Map<string, Set<Connection>>();
  readonly #perAddress = new Map<string, number>();
  readonly #perUser = new Map<string, number>();
  #users = 0;

  constructor(proxies: TrustedProxies, limits?: LimitCounters, shares: ShareLimits = SHARES.httpConnections) {
    this.#proxies = proxies;
    this.#limits = limits;
    this.#shares = shares;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Takes a connection that was just made. */
  add(socket: Socket): void {
    const { total, perAddress = total } = this.#shares;
    const key = keyOf(socket);
    const { remoteAddress = "" } = socket;
    const address = this.#proxies.trusts(remoteAddress) ? undefined : addressKey(remoteAddress);
    const ofAddress = address === undefined ? 0 : (this.#perAddress.get(address) ?? 0);
    if (address !== undefined && ofAddress >= perAddress) {
      this.#limits?.add("httpConnectionsPerAddress");
      if (!this.#evict(this.#strangersOf.get(address))) {
        refuse(socket);
        return;
      }
    }
    if (this.#all.size >= total) {
      this.#limits?.add("httpConnections");
      if (!this.#evict(this.#strangers)) {
        refuse(socket);
        return;
      }
    }
    const connection: Connection = { key, socket, address, user: undefined, administrator: false };
    this.#all.set(key, connection);
    if (address !== undefined) this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    this.#addStranger(connection);
    socket.once("close", () => this.#remove(connection));
  }

  /** Notes who uses a connection. Returns the limit that keeps them from it; `undefined` where there is room. */
  identify(ends: Ends, who: { readonly user: string; readonly administrator: boolean }): LimitName | undefined {
    const connection = this.#all.get(keyOf(ends));
    if (connection === undefined || connection.address === undefined) return undefined;
    if (connection.user === who.user && connection.administrator === who.administrator) return undefined;
    this.#forgetUser(connection);
    const { total, forAdministrators, perUser = total } = this.#shares;
    const full = this.#users >= total - forAdministrators && !who.administrator;
    const own = (this.#perUser.get(who.user) ?? 0) >= perUser;
    if (full || own) {
      const limit = own ? "httpConnectionsPerUser" : "httpConnections";
      this.#limits?.add(limit);
      return limit;
    }
    connection.user = who.user;
    connection.administrator = who.administrator;
    this.#perUser.set(who.user, (this.#perUser.get(who.user) ?? 0) + 1);
    if (!who.administrator) this.#users++;
    this.#forgetStranger(connection);
    return undefined;
  }

  #evict(strangers: ReadonlySet<Connection> = new Set()): boolean {
    const [oldest] = strangers;
    if (oldest === undefined) return false;
    this.#remove(oldest);
    oldest.socket.destroy();
    return true;
  }

  #remove(connection: Connection): void {
    const { key, address } = connection;
    if (this.#all.get(key) !== connection) return;
    this.#all.delete(key);
    this.#forgetUser(connection);
    this.#forgetStranger(connection);
    if (address !== undefined) decrease(this.#perAddress, address);
  }

  #addStranger(connection: Connection): void {
    const { address } = connection;
    if (address === undefined) return;
    this.#strangers.add(connection);
    this.#strangersOf.set(address, (this.#strangersOf.get(address) ?? new Set()).add(connection));
  }

  #forgetStranger(connection: Connection): void {
    const { address } = connection;
    if (address === undefined) return;
    this.#strangers.delete(connection);
    const same = this.#strangersOf.get(address);
    same?.delete(connection);
    if (same?.size === 0) this.#strangersOf.delete(address);
  }

  #forgetUser(connection: Connection): void {
    const { user, administrator } = connection;
    if (user === undefined) return;
    decrease(this.#perUser, user);
    if (!administrator) this.#users--;
    connection.user = undefined;
    connection.administrator = false;
    this.#addStranger(connection);
  }
}

function keyOf({ remoteAddress, remotePort }: Ends): string {
  return `${remoteAddress} ${remotePort}`;
}

function refuse(socket: Socket): void {
  socket.on("error", () => {}).destroy();
}

function decrease(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}
