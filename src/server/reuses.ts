/** Where the chunks of mirrors are found: one {@link Reuse} for each that is used, or has something left to write down. */
import { type Archive, Reuse } from "../sync/index.js";

interface Mirror {
  readonly name: string;
  readonly root: string;
  /** Of what is kept beside the mirrors. */
  readonly dir: string;
  readonly archive: Archive | undefined;
}

interface Used {
  readonly reuse: Reuse;
  sessions: number;
}

export class Reuses {
  readonly #busy: () => boolean;
  readonly #used = new Map<string, Used>();
  readonly #closing = new Set<Promise<void>>();

  /** `busy`: somebody is being served, who is not to wait for what is written down. */
  constructor(busy: () => boolean) {
    this.#busy = busy;
  }

  /** For a session with the mirror, until it {@link leave}s. */
  of(key: string, { name, root, dir, archive }: Mirror): Reuse {
    const used = this.#used.get(key) ?? { reuse: this.#make(name, root, dir, archive), sessions: 0 };
    used.sessions++;
    this.#used.set(key, used);
    return used.reuse;
  }

  /** Once nothing is left to write down, nothing is kept in memory. */
  leave(key: string): void {
    const used = this.#used.get(key);
    if (used === undefined) return;
    used.sessions--;
    void used.reuse.idle().then(() => {
      if (used.sessions > 0 || this.#used.get(key) !== used) return;
      this.#used.delete(key);
      this.#close(used.reuse);
    });
  }

  /** Resolves when nothing is left to write down. */
  async idle(): Promise<void> {
    await Promise.all([...this.#used.values()].map(({ reuse }) => reuse.idle()));
  }

  async close(): Promise<void> {
    for (const { reuse } of this.#used.values()) this.#close(reuse);
    this.#used.clear();
    await Promise.all(this.#closing);
  }

  #make(name: string, root: string, dir: string, archive: Archive | undefined): Reuse {
    const find = archive?.find?.bind(archive);
    return new Reuse({
      root,
      directory: `${dir}/chunk-index/${name}`,
      lists: `${dir}/chunks/${name}`,
      kept: find,
      busy: this.#busy,
    });
  }

  #close(reuse: Reuse): void {
    const closing: Promise<void> = reuse.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
