import { MAX_CANDIDATES } from "../limits.js";

/** What a SYN|ACK with the client's nonce says of its server. */
export interface Candidate {
  readonly remoteTag: number;
  readonly connectionId: number;
  readonly proof: number;
}

/** The SYN|ACKs of a client that introduces itself. Only the server's own is ever answered. */
export class Candidates {
  readonly #all: Candidate[] = [];
  #current = 0;

  get isAmbiguous(): boolean {
    return this.#all.length > 1;
  }

  /**
   * Keeps a SYN|ACK. `known`: it is there already. `refused`: its ID is that of another one, or there are {@link MAX_CANDIDATES}, or
   * the server is certain by now (`decided`).
   */
  offer(candidate: Candidate, decided: boolean): "new" | "known" | "refused" {
    const known = this.#of(candidate.connectionId);
    if (known !== undefined) return known.remoteTag === candidate.remoteTag ? "known" : "refused";
    if (decided || this.#all.length >= MAX_CANDIDATES) return "refused";
    this.#all.push(candidate);
    return "new";
  }

  /** Forgets all but the one with this ID, and returns it. */
  choose(connectionId: number): Candidate | undefined {
    const chosen = this.#of(connectionId);
    if (chosen === undefined) return undefined;
    this.#all.splice(0, this.#all.length, chosen);
    this.#current = 0;
    return chosen;
  }

  /** The one behind the current one, in turns. */
  next(): Candidate {
    this.#current = (this.#current + 1) % this.#all.length;
    return this.#all[this.#current] as Candidate;
  }

  #of(connectionId: number): Candidate | undefined {
    return this.#all.find((candidate) => candidate.connectionId === connectionId);
  }
}
