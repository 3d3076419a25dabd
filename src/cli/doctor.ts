import { once } from "node:events";
import { type ConfundoSocket, connect } from "../index.js";
import { connectSecurely } from "../secure/index.js";
import { usesAddon } from "../stream/datagram/index.js";
import { examine, type Finding } from "../sync/index.js";
import { type MirrorAddress, parseAddress } from "./address.js";
import { describe, shownPath } from "./report.js";

const SIGNS: Record<Finding["level"], string> = { ok: "ok      ", warning: "warning ", problem: "PROBLEM " };

/** Looks for what could keep a folder from being mirrored. Fails when it finds something that would. */
export async function doctor(folder: string, address: string | undefined): Promise<void> {
  const where = address === undefined ? undefined : parseAddress(address);
  const findings = [...(await examine(folder)), tier()];
  if (where !== undefined) findings.push(await reach(where));
  for (const { level, message, paths, count } of findings) {
    process.stdout.write(`${SIGNS[level]} ${message}\n`);
    for (const path of paths) process.stdout.write(`           ${shownPath(path)}\n`);
    if (count > paths.length) process.stdout.write(`           … and ${count - paths.length} more\n`);
  }
  const problems = findings.filter(({ level }) => level === "problem").length;
  if (problems > 0) throw new Error(`${problems} of the above would keep something from being mirrored.`);
}

function tier(): Finding {
  const message = usesAddon()
    ? "UDP goes through the addon of this package"
    : "UDP goes through Node alone, which is slower: there is no addon for this platform";
  return { level: "ok", message, paths: [], count: 0 };
}

/** Whether somebody answers there, and knows this device; the mirror itself is left alone, and so is a code. */
async function reach({ host, port, code }: MirrorAddress): Promise<Finding> {
  const start = performance.now();
  const socket =
    code === undefined
      ? connectSecurely({ host, port })
      : reached(connect({ host, port, noDelay: true, extended: "required" }));
  try {
    const opened = await socket;
    const ms = Math.round(performance.now() - start);
    opened.on("error", () => {}).destroy();
    return { level: "ok", message: `${host}:${port} answers in ${ms} ms`, paths: [], count: 0 };
  } catch (error) {
    return { level: "problem", message: describe(error), paths: [], count: 0 };
  }
}

async function reached(socket: ConfundoSocket): Promise<ConfundoSocket> {
  await once(socket, "connect");
  return socket;
}
