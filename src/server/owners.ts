/** Whose each mirror of a home is: kept beside the mirrors, so that it is restored with them from a backup. */
import fs from "node:fs";
import { makeFolder } from "../files/make-folder.js";
import type { Hello, Relation } from "../sync/index.js";

/** The folder that a mirror is of. */
export interface Owner {
  /** Tells the folder from every other one, wherever it is moved to. */
  readonly source: string;
  /** The client's id for the folder's place on its machine. */
  readonly clientId: string;
  /** What the client calls itself and its folder. */
  readonly label: string;
  /** Milliseconds since 1970. */
  readonly since: number;
}

export class Owners {
  readonly #dir: string;

  /** `dir` is made when something is written. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  of(name: string): Owner | undefined {
    try {
      const owner = JSON.parse(fs.readFileSync(`${this.#dir}/${name}`, "utf8")) as Partial<Owner>;
      const { source, clientId, label, since } = owner;
      const texts = [source, clientId, label].every((text) => typeof text === "string" && text.length <= 256);
      return texts && typeof since === "number" ? (owner as Owner) : undefined;
    } catch {
      return undefined;
    }
  }

  /** What a mirror is to a client that says which folder it has. */
  relationTo({ name, source, clientId }: Hello): { relation?: Relation; owner?: string } {
    if (source === undefined) return {};
    const owner = this.of(name);
    if (owner === undefined) return { relation: "nobody" };
    const relation = owner.source === source ? "same" : owner.clientId === clientId ? "place" : "another";
    return { relation, owner: owner.label };
  }

  /** Throws what the system does when it cannot be written. */
  set(name: string, owner: Owner): void {
    makeFolder(this.#dir, 0o700);
    const beside = `${this.#dir}/.${process.pid}.new`;
    fs.writeFileSync(beside, JSON.stringify(owner), { mode: 0o600 });
    fs.renameSync(beside, `${this.#dir}/${name}`);
  }

  /** The mirror is nobody's any more. */
  remove(name: string): void {
    fs.rmSync(`${this.#dir}/${name}`, { force: true });
  }
}
