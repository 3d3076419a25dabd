/** The receiving end of a mirror: one session with one client, over any Duplex. */
import type { Duplex } from "node:stream";
import { Applier } from "./apply.js";
import { Channel } from "./channel.js";
import { deferred } from "./deferred.js";
import { Desk } from "./desk.js";
import { SyncError, toSyncError } from "./errors.js";
import { Examiner } from "./examiner.js";
import type { Admission, Arriving, ReceiveEvent, ReceiveOptions, ReceiveSession } from "./hosting.js";
import {
  FEATURE_GUARD,
  FEATURE_OFFERS,
  FEATURE_PACKED,
  FEATURE_PLACE,
  FEATURES,
  HANDSHAKE_MS,
  PROTOCOL_VERSION,
} from "./limits.js";
import { Listing } from "./listing.js";
import { placeOf } from "./place.js";
import { isStep, type Step, unexpected } from "./steps.js";
import { Uploads } from "./uploads.js";
import type { Hello, Message } from "./wire.js";

/** Serves one client. Takes the Duplex over: its errors are handled and it is destroyed at the end. Never throws. */
export function receive(duplex: Duplex, options: ReceiveOptions): ReceiveSession {
  return new Receiver(duplex, options);
}

/** What there is once the client is let in. */
interface Open {
  readonly admission: Admission;
  readonly desk: Desk;
  readonly applier: Applier;
  readonly uploads: Uploads;
  readonly examiner: Examiner;
  /** While more can be asked of it. */
  listing: Listing | undefined;
}

class Receiver implements ReceiveSession {
  readonly #options: ReceiveOptions;
  readonly #channel: Channel;
  readonly #over = deferred();
  readonly #handshake: NodeJS.Timeout;
  #open: Open | undefined;
  #greeted = false;
  #guarded = false;
  #name = "";

  constructor(duplex: Duplex, options: ReceiveOptions) {
    this.#options = options;
    this.#handshake = setTimeout(
      () => this.end(new SyncError("ERR_PEER_SILENT", "the client sent no greeting in time")),
      options.handshakeMs ?? HANDSHAKE_MS,
    );
    this.#channel = new Channel(duplex, {
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      ...(options.silenceMs === undefined ? {} : { silenceMs: options.silenceMs }),
      onMessage: (message) => this.#receive(message),
      onClose: (error) => void this.#finish(error),
    });
  }

  get closed(): Promise<void> {
    return this.#over.promise;
  }

  end(reason: SyncError): void {
    this.#channel.fail(reason);
  }

  probe(ms: number): Promise<boolean> {
    return this.#channel.probe(ms);
  }

  approve(id: string, approved: boolean): void {
    if (this.#guarded && !this.#channel.closed) this.#channel.send({ type: "approve", id, approved });
  }

  arriving(): Arriving[] {
    return this.#open?.uploads.arriving() ?? [];
  }

  #receive(message: Message): void {
    if (message.type === "hello" && !this.#greeted) void this.#greet(message);
    else if (this.#open === undefined) throw unexpected(message);
    else if (isStep(message)) this.#step(message, this.#open);
    else this.#receiveOther(message, this.#open);
  }

  #step(step: Step, open: Open): void {
    // From now on it is another mirror than the one that is being listed.
    open.listing = undefined;
    open.applier.step(step);
  }

  #receiveOther(message: Message, open: Open): void {
    const { desk, uploads, listing } = open;
    if (message.type === "list") this.#list(open, message);
    else if (message.type === "look" && listing !== undefined)
      void this.#listing(open, () => listing.tell(message.folders));
    else if (message.type === "settled") this.#settle(open, message);
    else if (message.type === "claim") this.#claim(open, message.source);
    else if (message.type === "deletes") this.#hold(message);
    else if (message.type === "bye") void desk.whenIdle().then(() => this.#channel.goodbye());
    else if (message.type === "data") uploads.data(message.id, message.content);
    else if (message.type === "hole") uploads.hole(message.id, message.bytes);
    else if (message.type === "end") uploads.end(message.id, message.sha256);
    else if (message.type === "abort") uploads.abort(message.id);
    else if (message.type === "offer") uploads.offer(message.id, message.records);
    else if (message.type === "copy") uploads.copy(message.id, message.first, message.count);
    else if (message.type === "put" || message.type === "delta") uploads.announce(message);
    else throw unexpected(message);
  }

  async #greet(hello: Hello): Promise<void> {
    this.#greeted = true;
    clearTimeout(this.#handshake);
    this.#channel.hold();
    try {
      if (hello.version < PROTOCOL_VERSION) {
        const what = `the client speaks version ${hello.version} of the protocol, this server ${PROTOCOL_VERSION}`;
        throw new SyncError("ERR_VERSION", what);
      }
      const admission = await this.#options.admit(hello, this);
      this.#name = hello.name;
      const desk = new Desk({
        channel: this.#channel,
        admission,
        onStep: (event) => this.#emit({ ...event, name: this.#name }),
        onFailed: (path, code) => this.#emit({ type: "failed", name: this.#name, path, code }),
      });
      const onAgreed = (root: string): void => this.#emit({ type: "agreed", name: this.#name, root });
      const examiner = new Examiner(desk, { scrubMs: this.#options.scrubMs, onAgreed });
      this.#open = {
        admission,
        desk,
        applier: new Applier(desk),
        uploads: new Uploads(desk),
        examiner,
        listing: undefined,
      };
      if (this.#channel.closed) return admission.release();
      const { storage } = admission;
      storage.checkRoot();
      storage.clean(false);
      storage.chunks.clean();
      const features = (hello.features ?? 0) & (storage.reuse === undefined ? FEATURES & ~FEATURE_OFFERS : FEATURES);
      const chunks = storage.reuse?.any ?? false;
      const versions = storage.keeps;
      const keeps = storage.probe();
      examiner.comparison = keeps;
      examiner.lookAhead();
      this.#guarded = (features & FEATURE_GUARD) !== 0;
      const { relation, owner } = admission;
      const whose = relation === undefined ? {} : { relation, ...(owner === undefined ? {} : { owner }) };
      this.#channel.send({
        type: "welcome",
        version: PROTOCOL_VERSION,
        features,
        ...keeps,
        chunks,
        versions,
        ...whose,
      });
      if ((features & FEATURE_PLACE) !== 0) this.#channel.send({ type: "place", ...placeOf(storage.root) });
      if ((features & FEATURE_PACKED) !== 0) this.#channel.compress();
      this.#emit({ type: "opened", name: hello.name, label: hello.label });
      this.#channel.release();
    } catch (error) {
      this.end(toSyncError(error));
    }
  }

  #list(open: Open, { root, verify, perms, folders = false }: Message & { type: "list" }): void {
    const { examiner } = open;
    void this.#listing(open, async () => {
      examiner.comparison = { ...examiner.comparison, perms };
      const look = await examiner.look(verify);
      if (look.root?.equals(root)) {
        this.#channel.send({ type: "same", count: look.entries.size });
        return;
      }
      open.listing = new Listing(this.#channel, look);
      await open.listing.begin(folders);
    });
  }

  /** What is done before the next message is taken. */
  async #listing({ desk }: Open, work: () => Promise<void>): Promise<void> {
    this.#channel.hold();
    desk.begin();
    try {
      await work();
    } catch (error) {
      this.end(toSyncError(error));
    } finally {
      this.#channel.release();
      desk.leave();
    }
  }

  #settle(open: Open, { entries, root }: Message & { type: "settled" }): void {
    const { desk, applier, examiner } = open;
    try {
      desk.storage.prepare();
      applier.letGo();
      desk.settled = true;
      open.listing = undefined;
      desk.storage.reuse?.settled();
      this.#emit({ type: "settled", name: this.#name, entries });
      examiner.settled(root);
    } catch (error) {
      this.end(toSyncError(error));
    }
  }

  #claim({ admission }: Open, source: string): void {
    if (admission.readOnly) return;
    try {
      admission.claim?.(source);
    } catch (error) {
      this.end(toSyncError(error));
    }
  }

  #hold({ type: _, ...held }: Message & { type: "deletes" }): void {
    this.#emit({ type: "deletes", name: this.#name, held: held.files === 0 ? null : held });
  }

  async #finish(error: SyncError | undefined): Promise<void> {
    clearTimeout(this.#handshake);
    if (this.#open !== undefined) await this.#closeDown(this.#open);
    const why = error === undefined ? {} : { code: error.code, message: error.message };
    this.#emit({ type: "closed", name: this.#name, ...why });
    this.#over.resolve();
  }

  async #closeDown({ admission, desk, uploads, examiner }: Open): Promise<void> {
    examiner.close();
    await desk.whenIdle();
    await uploads.close();
    desk.releaseAll();
    desk.storage.hashes.close();
    try {
      desk.storage.clean(desk.settled);
    } catch {
      // Leftovers that cannot be removed now are removed when the next session begins.
    }
    admission.release();
  }

  /** What a host's handler throws must not become the failure of a client's file. */
  #emit(event: ReceiveEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }
}
