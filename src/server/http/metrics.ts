/** Figures for Prometheus. Label values come from us, never from a client, so that their number is bounded. */
import type { Context } from "hono";
import { matchedRoutes } from "hono/route";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { receiveBudget } from "../../stream/index.js";
import { CodeCounters, LIMIT_NAMES, type LimitCounters } from "../limits.js";
import type { LoopDelay } from "../loop-delay.js";
import type { WriteBehindFigures } from "../versions/write-behind.js";
import type { EventHub } from "./hub.js";
import type { LiveSession, Mirrors } from "./mirrors.js";
import type { ApiEnv } from "./router.js";

const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]);

export interface MetricsOptions {
  readonly mirrors: Mirrors;
  readonly hub: EventHub;
  readonly limits?: LimitCounters;
  readonly connectionCounts?: ConnectionCounts;
  readonly loopDelay?: LoopDelay;
  readonly writeBehind?: () => WriteBehindFigures;
}

/** Counts of the server's UDP port and of the sessions over it. */
export interface ConnectionCounts {
  /** Datagrams that no connection received, by reason. */
  readonly drops: () => object;
  readonly statelessResets: () => { readonly sent: number; readonly suppressed: number };
  /** Connections that were refused before they were a session's, and sessions that failed, by code. */
  readonly refused: CodeCounters;
  readonly failed: CodeCounters;
  /** Datagrams that the connections of now dropped as their receive buffers had no room. */
  readonly overflows: () => number;
}

const NOTHING_WAITS: WriteBehindFigures = { lagMs: 0, items: 0, bytes: 0, waits: 0 };

const NO_CONNECTIONS: ConnectionCounts = {
  drops: () => ({}),
  statelessResets: () => ({ sent: 0, suppressed: 0 }),
  refused: new CodeCounters(),
  failed: new CodeCounters(),
  overflows: () => 0,
};

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<"method" | "route" | "status">;
  readonly #seconds: Histogram<"route">;
  readonly #refused: Counter<"why">;
  readonly #sent: Counter;
  readonly #received: Counter;
  #defaults = false;

  constructor({
    mirrors,
    hub,
    limits,
    connectionCounts: connections = NO_CONNECTIONS,
    loopDelay,
    writeBehind = () => NOTHING_WAITS,
  }: MetricsOptions) {
    const registers = [this.#registry];
    const metric = (name: string, help: string) => ({ name: `confundo_${name}`, help, registers });
    this.#requests = new Counter({
      ...metric("http_requests_total", "HTTP requests, by route and status."),
      labelNames: ["method", "route", "status"],
    });
    this.#seconds = new Histogram({
      ...metric("http_request_seconds", "Until the answer began."),
      labelNames: ["route"],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    });
    this.#refused = new Counter({ ...metric("http_refused_total", "Refused before any route."), labelNames: ["why"] });
    this.#sent = new Counter(metric("http_file_bytes_sent_total", "Bytes of files sent over HTTP."));
    this.#received = new Counter(metric("http_file_bytes_received_total", "Bytes of files received over HTTP."));

    new Counter({
      ...metric("limit_reached_total", "What a limit of the server refused, by its name in docs/security.md."),
      labelNames: ["limit"],
      collect() {
        this.reset();
        for (const name of LIMIT_NAMES) this.inc({ limit: name }, limits?.of(name) ?? 0);
      },
    });
    const counts = (name: string, help: string, label: string, read: () => [string, number][]) =>
      new Counter({
        ...metric(name, help),
        labelNames: [label],
        collect() {
          this.reset();
          for (const [value, count] of read()) this.inc({ [label]: value }, count);
        },
      });
    counts("datagrams_dropped_total", "Datagrams of the UDP port that no connection received.", "reason", () =>
      Object.entries(connections.drops()),
    );
    counts("stateless_resets_total", "Packets for unknown connections, answered or too many.", "outcome", () =>
      Object.entries(connections.statelessResets()),
    );
    counts("connections_refused_total", "Connections refused before they were a session's, by code.", "code", () =>
      connections.refused.entries(),
    );
    counts("sessions_failed_total", "Sessions that ended with an error, by code.", "code", () =>
      connections.failed.entries(),
    );
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        ...metric(name, help),
        collect() {
          this.set(read());
        },
      });
    const sum = (of: (session: LiveSession) => number) => mirrors.sessions().reduce((all, one) => all + of(one), 0);
    gauge("sessions", "Clients that mirror now.", () => mirrors.sessions().length);
    gauge("transfers", "Files on their way in.", () => mirrors.transfers().length);
    const total = (name: string, help: string, read: () => number) =>
      new Counter({
        ...metric(name, help),
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    if (loopDelay !== undefined) {
      const seconds = (ms: number): number => ms / 1000;
      const longest = "The longest time in the last minute for which the event loop was blocked.";
      gauge("event_loop_delay_max_seconds", longest, () => seconds(loopDelay.maxMs));
      const mean = "How late the event loop was in the last second, in the mean.";
      gauge("event_loop_delay_mean_seconds", mean, () => seconds(loopDelay.meanMs));
      total("event_loop_delay_seconds_total", "All delays of the event loop together.", () =>
        seconds(loopDelay.totalMs),
      );
    }
    const lag = "For how long the oldest change has been waiting to be written to the database.";
    gauge("database_lag_seconds", lag, () => writeBehind().lagMs / 1000);
    gauge("database_waiting_changes", "Changes that are not in the database yet.", () => writeBehind().items);
    gauge("database_waiting_bytes", "Bytes of those, in memory and in files.", () => writeBehind().bytes);
    const waits = "How often clients had to wait because no more changes could be noted.";
    total("database_backpressure_total", waits, () => writeBehind().waits);
    total(
      "evicted_versions_total",
      "Old versions deleted to keep folders within their storage limits.",
      () => mirrors.quotaFigures().evictedVersions,
    );
    total("evicted_version_bytes_total", "Content of those versions.", () => mirrors.quotaFigures().evictedBytes);
    total(
      "evicted_uploads_total",
      "Unfinished uploads deleted to keep folders within their storage limits.",
      () => mirrors.quotaFigures().evictedUploads,
    );
    new Counter({
      ...metric("quota_refused_total", "Changes refused because a folder would exceed a limit."),
      labelNames: ["limit"],
      collect() {
        this.reset();
        for (const [limit, count] of Object.entries(mirrors.quotaFigures().refused)) this.inc({ limit }, count);
      },
    });
    gauge(
      "receive_budget_bytes",
      "The limit to what has arrived by UDP and was not read yet.",
      () => receiveBudget().limitBytes,
    );
    gauge("receive_budget_used_bytes", "Memory that it takes now.", () => receiveBudget().usedBytes);
    total(
      "receive_budget_refusals_total",
      "Packets dropped because the receive budget was spent.",
      () => receiveBudget().refusals,
    );
    gauge("event_subscribers", "Who listens to events.", () => hub.subscribers);
    gauge("event_last", "The number of the newest event.", () => hub.last);
    gauge("session_bytes_received", "Bytes received by the connections of now.", () =>
      sum(({ connection }) => connection?.bytesReceived ?? 0),
    );
    gauge("session_overflows", "Datagrams for which the receive buffers of the connections of now had no room.", () =>
      connections.overflows(),
    );
    gauge("session_retransmissions", "Datagrams sent again by the connections of now.", () =>
      sum(({ connection }) => connection?.retransmissions ?? 0),
    );
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Counts an answered request. Returns its route. */
  request(c: Context<ApiEnv>, seconds: number): string {
    // Patterns with * are those of guards and of the dashboard.
    const route = matchedRoutes(c).findLast(({ path }) => !path.includes("*"))?.path ?? "other";
    const method = METHODS.has(c.req.method) ? c.req.method : "OTHER";
    this.#requests.inc({ method, route, status: c.res.status });
    this.#seconds.observe({ route }, seconds);
    return route;
  }

  refused(why: "too-large"): void {
    this.#refused.inc({ why });
  }

  sent(bytes: number): void {
    this.#sent.inc(bytes);
  }

  received(bytes: number): void {
    this.#received.inc(bytes);
  }

  text(): Promise<string> {
    // Those watch the event loop from then on: only where somebody asks.
    if (!this.#defaults) collectDefaultMetrics({ register: this.#registry });
    this.#defaults = true;
    return this.#registry.metrics();
  }
}
