import { type Connection, Signal } from "../protocol/index.js";
import type { ConnectionOwner, Driver } from "./driver.js";
import type { ConfundoSocket } from "./socket.js";

/**
 * What becomes of a connection when its handshake is done: a socket, a reset, or its end at once, as of one that
 * `node:net` drops.
 */
export type Verdict = "accept" | "reset" | "end";

/** Owns an accepted connection until its handshake is done and it becomes a socket, or until it is given up. */
export class PendingConnection implements ConnectionOwner {
  readonly keepsProcessAlive = false;
  readonly awaitsClose = false;
  readonly awaitsEmpty = false;
  readonly #connection: Connection;
  readonly #driver: Driver;
  readonly #create: () => ConfundoSocket;
  readonly #verdict: () => Verdict;

  constructor(connection: Connection, driver: Driver, create: () => ConfundoSocket, verdict: () => Verdict) {
    this.#connection = connection;
    this.#driver = driver;
    this.#create = create;
    this.#verdict = verdict;
  }

  handleSignals(signals: number): void {
    // One that was open and reset within a batch has been a connection, as it would be with node:net.
    if ((signals & Signal.connected) !== 0) this.#handshakeDone(signals);
    else if ((signals & Signal.closed) !== 0) this.#driver.detach(this.#connection);
  }

  #handshakeDone(signals: number): void {
    const verdict = this.#verdict();
    if (verdict === "accept") {
      this.#create().handleSignals(signals);
      return;
    }
    const now = this.#driver.now();
    this.#driver.detach(this.#connection);
    // A classic peer knows no reset: the end tells it, too.
    if (verdict === "reset" && this.#connection.edition === "extended") this.#connection.abort(now);
    else {
      this.#connection.end(now);
      this.#connection.discardInput(now);
    }
    this.#driver.drain(this.#connection);
  }
}
