/** A client of the mirror protocol that says whatever it likes. */
import type { Duplex } from "node:stream";
import { onTestFinished } from "vitest";
import { PROTOCOL_VERSION } from "../../src/sync/limits.js";
import { Decoder, encode, type Message } from "../../src/sync/wire.js";
import { until } from "./sync-rig.js";

export function rawClient(duplex: Duplex) {
  const decoder = new Decoder();
  const heard: Message[] = [];
  duplex.on("error", () => {});
  duplex.on("data", (chunk) => {
    decoder.push(chunk);
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) heard.push(next);
  });
  onTestFinished(() => void duplex.destroy());
  const say = (...messages: Message[]): void => void duplex.write(Buffer.concat(messages.map(encode)));
  const hear = async <T extends Message["type"]>(type: T, id?: number): Promise<Message & { type: T }> => {
    const find = () =>
      heard.find((one) => one.type === type && (id === undefined || ("id" in one && one.id === id))) as
        | (Message & { type: T })
        | undefined;
    await until(() => find() !== undefined || duplex.destroyed);
    const found = find();
    if (found === undefined) throw new Error(`closed without ${type}: ${JSON.stringify(heard)}`);
    return found;
  };
  return {
    say,
    hear,
    heard,
    done: (id: number) => until(() => heard.some((m) => m.type === "done" && m.ids.includes(id))),
  };
}

export const hello = (more: Partial<Message & { type: "hello" }> = {}): Message => ({
  type: "hello",
  version: PROTOCOL_VERSION,
  name: "m",
  clientId: "c",
  instanceId: "i",
  label: "",
  ...more,
});
