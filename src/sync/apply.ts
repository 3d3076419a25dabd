/** Carries out the steps of a client at the receiving end, as if in order. */
import type { Placed } from "./commit.js";
import type { Desk } from "./desk.js";
import { SyncError } from "./errors.js";
import type { StagedFile } from "./flush.js";
import type { StepEvent } from "./hosting.js";
import { MAX_COMPARISONS, MAX_HELD } from "./limits.js";
import { Slots, type Turn } from "./order.js";
import { eventOf, foldersOf, pathsOf, type Step } from "./steps.js";
import type { MovedFile, SmallFile } from "./wire.js";

type OtherStep = Exclude<Step, SmallFile>;

export class Applier {
  readonly #desk: Desk;
  readonly #comparisons = new Slots(MAX_COMPARISONS);
  /** Where what was held is, by the id of its HOLD. */
  readonly #held = new Map<number, string>();
  /** HOLDs under way. */
  #holding = 0;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** Answered by DONE or FAIL. */
  step(request: Step): void {
    if (request.type === "file") this.#file(request);
    else void this.#other(request, this.#desk.enter(pathsOf(request)));
  }

  /** Lets go of what was held. */
  letGo(): void {
    for (const staged of this.#held.values()) this.#desk.storage.discard(staged);
    this.#held.clear();
  }

  /** Nothing of what waits here may hold the content: there are many at a time. */
  #file(request: SmallFile): void {
    const desk = this.#desk;
    const { storage } = desk;
    const { id, path, content } = request;
    const turn = desk.enter([path]);
    let file: StagedFile;
    let room: Promise<void> | undefined;
    let ahead: unknown;
    try {
      desk.permit();
      room = desk.reserve(id, path, content.length);
      storage.prepare();
      ahead = storage.keepAhead(path);
      file = storage.stageSmall(request);
    } catch (error) {
      storage.forgetAhead(ahead);
      desk.fail(id, path, error);
      turn.leave();
      desk.leave();
      return;
    }
    const staged = { file, ahead };
    desk.stage({
      file,
      place: this.#placing(staged, turn, room, { id, folders: foldersOf(request), event: eventOf(request) }),
    });
  }

  /** What is done with a file when its content is durable, or could not be made so, and it is its turn. */
  #placing(
    { file, ahead }: { readonly file: StagedFile; readonly ahead: unknown },
    turn: Turn,
    room: Promise<void> | undefined,
    placed: Placed,
  ): (error?: unknown) => void {
    const desk = this.#desk;
    const { path } = placed.event as StepEvent;
    const conclude = (error?: unknown): void => {
      try {
        if (error !== undefined) throw error;
        desk.storage.place(file.staged, path, ahead);
        desk.place(placed);
      } catch (reason) {
        desk.storage.forgetAhead(ahead);
        desk.storage.discard(file.staged);
        desk.fail(placed.id, path, reason);
      } finally {
        turn.leave();
        desk.leave();
      }
    };
    if (room === undefined)
      return (error) => (turn.ready === undefined ? conclude(error) : void turn.ready.then(() => conclude(error)));
    return (error) => void Promise.all([room, turn.ready]).then(() => conclude(error), conclude);
  }

  async #other(request: OtherStep, turn: Turn): Promise<void> {
    const desk = this.#desk;
    try {
      desk.permit();
      const room = this.#reserve(request);
      if (room !== undefined) await room;
      desk.storage.prepare();
      if (turn.ready !== undefined) await turn.ready;
      await this.#carryOut(request);
      desk.place({ id: request.id, folders: foldersOf(request), event: eventOf(request) });
    } catch (error) {
      desk.fail(request.id, request.path, error);
    } finally {
      turn.leave();
      desk.leave();
    }
  }

  #reserve(request: OtherStep): Promise<void> | undefined {
    const { id, path } = request;
    switch (request.type) {
      case "mkdir":
        return this.#desk.reserve(id, path, 0, "directory");
      case "link":
        return this.#desk.reserve(id, path, Buffer.byteLength(request.target));
      case "clone":
        return this.#desk.reserve(id, path, request.size);
      case "rename":
        return this.#desk.reserve(id, path, 0, "rename");
      case "move":
        // What was held may still be where it was, too.
        return request.held === 0 ? undefined : this.#desk.reserve(id, path, request.size);
      default:
        return undefined;
    }
  }

  #carryOut(request: OtherStep): void | Promise<void> {
    const { storage } = this.#desk;
    switch (request.type) {
      case "mkdir":
        return storage.makeFolder(request.path);
      case "link":
        return storage.keepAheadNow(request.path).then((ahead) => storage.makeLink(request, ahead));
      case "remove":
        return storage.remove(request.path, request.kind);
      case "touch":
        return request.kind === "file" ? storage.touch(request) : storage.touchFolder(request);
      case "rename":
        return storage.renameFolder(request.from, request.path);
      case "hold":
        return this.#hold(request.id, request.path);
      case "clone":
        return this.#comparisons.run(() => storage.clone(request, request.sha256, request.from));
      case "move":
        return this.#move(request);
    }
  }

  async #hold(id: number, path: string): Promise<void> {
    const { storage } = this.#desk;
    if (this.#held.size + this.#holding >= MAX_HELD) throw new SyncError("ERR_LIMIT", "too much is held");
    this.#holding++;
    const staged = await storage.hold(path).finally(() => this.#holding--);
    if (this.#held.has(id)) storage.discard(staged);
    else this.#held.set(id, staged);
  }

  async #move(request: MovedFile): Promise<void> {
    const { storage } = this.#desk;
    const held = this.#held.get(request.held);
    if (request.held !== 0 && held === undefined) throw new SyncError("ERR_CHECKSUM", "nothing was held");
    this.#held.delete(request.held);
    try {
      await this.#comparisons.run(() => storage.move(request, request.sha256, request.from, held));
    } finally {
      if (held !== undefined) storage.discard(held);
    }
  }
}
