/** The events of the server: one WebSocket, opened again where it was after every disconnect. */

/** One message. Those that the server keeps have a number, from which the next connection goes on. */
export interface LiveEvent {
  readonly id?: number;
  readonly at: number;
  readonly type: string;
  readonly folder: string | null;
  readonly data: unknown;
}

export type LiveState = "connecting" | "open" | "waiting" | "closed";

/** What of a WebSocket is used; tests bring their own. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((message: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  close(): void;
}

export interface LiveOptions {
  /** Opens a socket to the events after number `after`; null: from now on. */
  readonly open: (after: number | null) => Socket;
  readonly setTimer: (callback: () => void, ms: number) => unknown;
  readonly clearTimer: (timer: unknown) => void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

export class Live {
  readonly #options: LiveOptions;
  readonly #listeners = new Set<(event: LiveEvent) => void>();
  readonly #watchers = new Set<(state: LiveState) => void>();
  #state: LiveState = "closed";
  #socket: Socket | null = null;
  #timer: unknown = null;
  #pauseMs = FIRST_PAUSE_MS;
  #after: number | null = null;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  get state(): LiveState {
    return this.#state;
  }

  /** Begins with what comes after `after`. */
  start(after: number | null): void {
    this.stop();
    this.#after = after;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#connect();
  }

  stop(): void {
    if (this.#timer !== null) this.#options.clearTimer(this.#timer);
    this.#timer = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#become("closed");
  }

  /** Returns what ends it. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  watch(watcher: (state: LiveState) => void): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  #connect(): void {
    this.#timer = null;
    this.#become("connecting");
    const socket = this.#options.open(this.#after);
    this.#socket = socket;
    socket.onopen = () => {
      if (this.#socket === socket) this.#become("open");
    };
    socket.onmessage = ({ data }) => {
      if (this.#socket === socket) this.#receive(data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#become("waiting");
      this.#timer = this.#options.setTimer(() => this.#connect(), this.#pauseMs);
      this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    };
  }

  #receive(data: unknown): void {
    // A server that speaks counts as a connection that stands: the pauses begin anew.
    this.#pauseMs = FIRST_PAUSE_MS;
    const event = parse(data);
    if (event === undefined) return;
    if (event.id !== undefined) this.#after = event.id;
    for (const listener of this.#listeners) listener(event);
  }

  #become(state: LiveState): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const watcher of this.#watchers) watcher(state);
  }
}

function parse(data: unknown): LiveEvent | undefined {
  try {
    const event: unknown = JSON.parse(String(data));
    const fits = typeof event === "object" && event !== null && typeof (event as LiveEvent).type === "string";
    return fits ? (event as LiveEvent) : undefined;
  } catch {
    return undefined;
  }
}
