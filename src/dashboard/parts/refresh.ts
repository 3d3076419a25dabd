/** Lists that follow what happens at the server. */
import { useEffect, useRef } from "preact/hooks";
import type { LiveEvent } from "../live.js";
import { type Listed, useListed } from "./load.js";
import { useShell } from "./shell.js";

/** However much happens, lists are loaded no more often than this. */
const PAUSE_MS = 700;

/** Runs `refresh` soon after an event that matters, and after a connection that was lost is there again. */
export function useRefresh(refresh: () => void, matters: (event: LiveEvent) => boolean): void {
  const { live } = useShell();
  const latest = useRef({ refresh, matters });
  latest.current = { refresh, matters };
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        latest.current.refresh();
      }, PAUSE_MS);
    };
    const unlisten = live.listen((event) => latest.current.matters(event) && soon());
    let state = live.state;
    const unwatch = live.watch((next) => {
      if (next === "open" && state !== "open") soon();
      state = next;
    });
    return () => {
      unlisten();
      unwatch();
      clearTimeout(timer);
    };
  }, [live]);
}

export function useRefreshed<T>(
  path: string,
  matters: (event: LiveEvent) => boolean,
  query: Record<string, string> = {},
): Listed<T> {
  const listed = useListed<T>(path, query);
  useRefresh(listed.reload, (event) => event.id !== undefined && matters(event));
  return listed;
}
