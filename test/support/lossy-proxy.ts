import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { Random } from "./random.js";

/** What happens to datagrams of one direction. Probabilities from 0 to 1. */
export interface Weather {
  readonly loss?: number;
  readonly duplication?: number;
  /** Of being held back for up to `reorderMs`, while later ones pass. */
  readonly reordering?: number;
  readonly reorderMs?: number;
  /** Every datagram takes so long. */
  readonly delayMs?: number;
  /** A byte is changed. */
  readonly corruption?: number;
}

export interface LossyProxyOptions {
  readonly seed: number;
  readonly targetPort: number;
  readonly toServer?: Weather;
  readonly toClient?: Weather;
  /** Default: the system's. */
  readonly clock?: { setTimer(callback: () => void, delayMs: number): unknown };
  /** Sees each datagram as it arrives; false loses it. */
  readonly filter?: (datagram: Buffer, direction: "toServer" | "toClient") => boolean;
}

/** A UDP proxy on 127.0.0.1 that mistreats datagrams, reproducibly as far as they arrive in the same order. */
export class LossyProxy {
  readonly #options: LossyProxyOptions;
  readonly #front: Socket = createSocket("udp4");
  readonly #backs = new Map<number, Promise<Socket>>();
  readonly #random: { toServer: Random; toClient: Random };
  #closed = false;
  /** While true, nothing passes. */
  silent = false;
  /** While true, nothing passes to the server. */
  deaf = false;
  datagrams = 0;
  lost = 0;
  /** Where what clients send goes to. */
  targetPort: number;

  private constructor(options: LossyProxyOptions) {
    this.#options = options;
    this.targetPort = options.targetPort;
    const random = new Random(options.seed);
    this.#random = { toServer: random.fork(), toClient: random.fork() };
  }

  static async start(options: LossyProxyOptions): Promise<LossyProxy> {
    const proxy = new LossyProxy(options);
    proxy.#front.on("message", (datagram, from) => void proxy.#fromClient(datagram, from.port));
    proxy.#front.bind(0, "127.0.0.1");
    await once(proxy.#front, "listening");
    return proxy;
  }

  get port(): number {
    return this.#front.address().port;
  }

  /** Sends datagrams of its own to every client, as if the server had sent them. */
  inject(datagrams: readonly Buffer[]): void {
    for (const clientPort of this.#backs.keys()) {
      for (const datagram of datagrams) this.#front.send(datagram, clientPort, "127.0.0.1");
    }
  }

  /** From now on the server sees every client at another port, as behind a NAT that has forgotten them. */
  async rebind(): Promise<void> {
    for (const [clientPort, opening] of this.#backs) {
      this.#backs.set(clientPort, this.#openBack(clientPort));
      (await opening).close();
    }
    await Promise.all(this.#backs.values());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#front.close();
    for (const back of this.#backs.values()) (await back).close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #fromClient(datagram: Buffer, clientPort: number): Promise<void> {
    let opening = this.#backs.get(clientPort);
    if (opening === undefined) {
      opening = this.#openBack(clientPort);
      this.#backs.set(clientPort, opening);
    }
    await opening;
    this.#pass(datagram, "toServer", (passed) => void this.#sendOn(passed, clientPort));
  }

  /** What was held back leaves from the port of its time. */
  async #sendOn(datagram: Buffer, clientPort: number): Promise<void> {
    const back = await this.#backs.get(clientPort);
    if (!this.#closed) back?.send(datagram, this.targetPort, "127.0.0.1");
  }

  /** The server must see each client at an address of its own. */
  async #openBack(clientPort: number): Promise<Socket> {
    const back = createSocket("udp4");
    back.on("message", (datagram) => {
      this.#pass(datagram, "toClient", (passed) => this.#front.send(passed, clientPort, "127.0.0.1"));
    });
    back.bind(0, "127.0.0.1");
    await once(back, "listening");
    return back;
  }

  #pass(datagram: Buffer, direction: "toServer" | "toClient", send: (datagram: Buffer) => void): void {
    const random = this.#random[direction];
    const weather = this.#options[direction] ?? {};
    this.datagrams++;
    const filtered = this.#options.filter?.(datagram, direction) === false;
    if (this.silent || (this.deaf && direction === "toServer") || filtered || random.chance(weather.loss ?? 0)) {
      this.lost++;
      return;
    }
    if (random.chance(weather.corruption ?? 0)) {
      const at = random.integer(0, datagram.length - 1);
      datagram[at] = (datagram[at] ?? 0) ^ random.integer(1, 255);
    }
    const copies = random.chance(weather.duplication ?? 0) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const held = random.chance(weather.reordering ?? 0) ? random.between(0, weather.reorderMs ?? 20) : 0;
      const delayMs = (weather.delayMs ?? 0) + held;
      const go = () => {
        if (!this.#closed) send(datagram);
      };
      if (delayMs === 0) go();
      else (this.#options.clock ?? SYSTEM).setTimer(go, delayMs);
    }
  }
}

const SYSTEM = { setTimer: (callback: () => void, delayMs: number) => setTimeout(callback, delayMs) };
