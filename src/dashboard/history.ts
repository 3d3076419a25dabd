/** What connections did in the last minutes, from the figures that the server tells now and then. Pure. */
import type { Session } from "./api.js";

export type Figures = NonNullable<Session["connection"]>;

export interface History {
  /** Seconds since 1970, as the plots want them. */
  readonly times: readonly number[];
  /** Bytes a second, both directions; null where it is not known yet. */
  readonly throughput: readonly (number | null)[];
  readonly cwnd: readonly number[];
  readonly rttMs: readonly number[];
  readonly last: { readonly atMs: number; readonly bytes: number; readonly figures: Figures };
}

const MOST = 300;

/** Adds one reading. One that is not newer than the last changes nothing; counters that went back begin anew. */
export function extend(history: History | undefined, atMs: number, figures: Figures): History {
  const bytes = figures.bytesSent + figures.bytesReceived;
  const last = { atMs, bytes, figures };
  if (history === undefined || bytes < history.last.bytes) {
    return { times: [atMs / 1000], throughput: [null], cwnd: [figures.cwnd], rttMs: [figures.smoothedRttMs], last };
  }
  const passedMs = atMs - history.last.atMs;
  if (passedMs <= 0) return history;
  return {
    times: [...history.times, atMs / 1000].slice(-MOST),
    throughput: [...history.throughput, ((bytes - history.last.bytes) * 1000) / passedMs].slice(-MOST),
    cwnd: [...history.cwnd, figures.cwnd].slice(-MOST),
    rttMs: [...history.rttMs, figures.smoothedRttMs].slice(-MOST),
    last,
  };
}
