/** Data that comes from the server, for components. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, type Page } from "../api.js";
import { useShell } from "./shell.js";

export interface Loaded<T> {
  /** Undefined until it is there. What is shown stays while it is loaded anew. */
  readonly data: T | undefined;
  readonly error: string | undefined;
  readonly reload: () => void;
}

/** Loads on the first showing, whenever `key` changes and on `reload`; an answer that was overtaken is thrown away. */
export function useLoaded<T>(key: string, load: () => Promise<T>): Loaded<T> {
  const { onUnauthenticated } = useShell();
  const [state, setState] = useState<{ key: string; data?: T; error?: string }>({ key });
  const latest = useRef(0);
  const reload = useCallback(() => {
    const turn = ++latest.current;
    load().then(
      (data) => turn === latest.current && setState({ key, data }),
      (error: unknown) => {
        if (turn !== latest.current) return;
        if (error instanceof ApiError && error.status === 401) onUnauthenticated();
        else setState((before) => ({ ...(before.key === key ? before : {}), key, error: messageOf(error) }));
      },
    );
  }, [key]);
  useEffect(() => {
    reload();
    return () => void latest.current++;
  }, [reload]);
  const current = state.key === key ? state : { key };
  return { data: current.data, error: current.error, reload };
}

export interface Listed<T> {
  readonly items: readonly T[] | undefined;
  readonly error: string | undefined;
  readonly reload: () => void;
  /** Undefined at the end. */
  readonly more: (() => void) | undefined;
}

/** A list that comes in pages. Loading it anew loads as much as is shown. */
export function useListed<T>(path: string, query: Record<string, string> = {}): Listed<T> {
  const [pages, setPages] = useState(1);
  const key = `${path}?${new URLSearchParams(query)}`;
  const { data, error, reload } = useLoaded(`${key}#${pages}`, async () => {
    const items: T[] = [];
    let after: string | null = null;
    for (let page = 0; page < pages && (page === 0 || after !== null); page++) {
      const part: Page<T> = await get(path, { ...query, ...(after === null ? {} : { after }) });
      items.push(...part.items);
      // A list that comes whole says nothing of a next page.
      after = part.next ?? null;
    }
    return { key, items, end: after === null };
  });
  // While more pages of the same list are on their way, what was shown stays.
  const shown = useRef<typeof data>(undefined);
  if (data !== undefined) shown.current = data;
  else if (shown.current?.key !== key) shown.current = undefined;
  useEffect(() => setPages(1), [key]);
  return {
    items: shown.current?.items,
    error,
    reload,
    more: shown.current?.end === false ? () => setPages(pages + 1) : undefined,
  };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
