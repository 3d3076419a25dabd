import { Socket } from "node:dgram";
import { SHARES_PORT } from "./reuse-port.js";
import { addressOf, bindNow, createUdp } from "./udp.js";

/** Whether `node:dgram` reports what waits to be sent. Deno's does not. */
export const REPORTS_SEND_QUEUE: boolean = "getSendQueueSize" in Socket.prototype;

let sharesPorts: boolean | undefined;

/**
 * Whether `node:dgram` binds before `bind` returns, and lets several sockets have one port, as Node's does. Servers of the tier
 * `descriptor` and those bound to all addresses are built on both. Bun binds later, and Deno knows no SO_REUSEPORT. Tried
 * once, with two sockets on a free port of the loopback interface.
 */
export function sharesPortsAtOnce(): boolean {
  sharesPorts ??= tryToShare();
  // Sockets that cannot be had now, as for EMFILE, say nothing of the runtime.
  return sharesPorts ?? true;
}

/** Undefined where there was no first socket, which has other causes. */
function tryToShare(): boolean | undefined {
  const first = createUdp({ type: "udp4", ...SHARES_PORT });
  try {
    bindNow(first, "127.0.0.1", 0);
  } catch {
    return undefined;
  }
  try {
    const { address, port } = addressOf(first);
    const second = createUdp({ type: "udp4", ...SHARES_PORT });
    bindNow(second, address, port);
    second.close();
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "EMFILE" || code === "ENFILE" ? undefined : false;
  } finally {
    first.on("error", () => {});
    first.close();
  }
}
