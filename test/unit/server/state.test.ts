import fs from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createIdentity } from "../../../src/secure/index.js";
import { HomeState } from "../../../src/server/state.js";
import { tempFolder } from "../../support/sync-rig.js";

function fresh(): HomeState {
  const state = new HomeState(tempFolder());
  state.prepare();
  return state;
}

describe("what a home keeps of itself", () => {
  test("is made once, for its owner only", () => {
    const state = fresh();
    const identity = state.identity();
    expect(state.identity()).toEqual(identity);
    expect(state.exists).toBe(false);
    state.saveSettings({ host: "h", port: 1 });
    expect(state.settings()).toEqual({ host: "h", port: 1 });
    expect(state.exists).toBe(true);
    for (const name of fs.readdirSync(state.folder)) {
      expect(fs.statSync(join(state.folder, name)).mode & 0o777, name).toBe(0o600);
    }
  });

  test("a certificate that was deleted is made anew, for the same key", () => {
    const state = fresh();
    const { pin } = state.identity();
    fs.rmSync(join(state.folder, "identity.crt"));
    expect(state.identity().pin).toBe(pin);
  });

  test.each<[string, (state: HomeState, at: (name: string) => string) => void, RegExp]>([
    ["no key", (_, at) => fs.rmSync(at("identity.key")), /identity\.key is missing.*backup.*identity\.crt/],
    ["half a key", (_, at) => fs.truncateSync(at("identity.key"), 40), /identity\.key is damaged/],
    [
      "noise for a certificate",
      (_, at) => fs.writeFileSync(at("identity.crt"), "x"),
      /identity\.crt is damaged, or of/,
    ],
    [
      "the certificate of another key",
      (_, at) => fs.writeFileSync(at("identity.crt"), createIdentity().cert),
      /identity\.crt is damaged, or of another key/,
    ],
    ["a key for all to read", (_, at) => fs.chmodSync(at("identity.key"), 0o644), /chmod 600 .*identity\.key/],
    ["half of its settings", (_, at) => fs.writeFileSync(at("config.json"), "{"), /config\.json is damaged/],
    ["settings that are none", (_, at) => fs.writeFileSync(at("config.json"), "[]"), /config\.json is damaged/],
  ])("with %s it is refused, and says which file and what to do", (_, spoil, message) => {
    const state = fresh();
    state.identity();
    state.saveSettings({});
    spoil(state, (name) => join(state.folder, name));
    const read = (): unknown => [state.identity(), state.settings()];
    expect(read).toThrow(expect.objectContaining({ code: "ERR_STATE", message: expect.stringMatching(message) }));
  });
});
