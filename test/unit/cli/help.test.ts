import type { Command, Option } from "commander";
import { expect, test } from "vitest";
import { program } from "../../../src/cli/main.js";

function commands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(commands)];
}

const all = commands(program());
const options = all.flatMap((command) => command.options.map((option): [Command, Option] => [command, option]));

test("times and sizes are shown in the units that people give them in", () => {
  const raw = options.filter(([, { flags, defaultValue, defaultValueDescription }]) => {
    const quantity = /<(time|size|rate)>/.test(flags);
    return quantity && defaultValue !== undefined && !/^\d+(ms|s|m|h|d|w|K|M|G)$/.test(defaultValueDescription ?? "");
  });
  expect(raw.map(([command, { flags }]) => `${command.name()} ${flags}`)).toEqual([]);
  const invite = all.find((command) => command.name() === "invite");
  expect(invite?.helpInformation()).toMatch(/--expires <time> .*\(default: 1h\)/s);
});

test("no default is a number that nobody reads, or longer than four digits", () => {
  const shown = all.flatMap((command) => [...command.helpInformation().matchAll(/\(default:([^)]*)\)/gs)]);
  expect(shown.length).toBeGreaterThan(15);
  expect(shown.map(([text]) => text).filter((text) => /\d{5,}/.test(text.replace(/:\d{4}\b/, "")))).toEqual([]);
});
