import { useEffect, useState } from "preact/hooks";
import { visibleLabel } from "../../text/visible.js";
import type { ActiveTransfer, Session, Transfer } from "../api.js";
import { bytes, counted, milliseconds, rate } from "../format.js";
import { extend, type History } from "../history.js";
import { Plot } from "../parts/plot.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, ProgressBar, Shown, Table, Time, Trouble } from "../parts/show.js";

interface Moment {
  readonly sessions: readonly Session[] | undefined;
  readonly transfers: readonly ActiveTransfer[];
  readonly histories: ReadonlyMap<string, History>;
}

/** What goes on now, and what came in lately. */
export function Transfers() {
  const { sessions, transfers, histories } = useMoment();
  const finished = useRefreshed<Transfer>(
    "/transfers",
    ({ type }) => type.startsWith("file.") || type.startsWith("transfer."),
  );
  return (
    <>
      <header class="page">
        <h1>Transfers</h1>
      </header>
      <h2>On their way</h2>
      {transfers.length === 0 ? <p class="quiet">No file is being received.</p> : null}
      <ul class="cards">
        {transfers.map((transfer) => (
          <li key={transfer.id} class="card">
            <p>
              <strong>
                <Shown of={transfer.path} />
              </strong>{" "}
              <span class="quiet">
                in <Shown of={transfer.folder} />
              </span>
            </p>
            {transfer.size === null ? null : (
              <ProgressBar
                label={`Progress of ${visibleLabel(transfer.path)}`}
                done={transfer.bytes}
                of={transfer.size}
              />
            )}
            <p class="quiet">
              {bytes(transfer.bytes)}
              {transfer.size === null ? "" : ` of ${bytes(transfer.size)}`}, began <Time at={transfer.startedAt} />
            </p>
          </li>
        ))}
      </ul>
      <h2>Connections</h2>
      {sessions?.length === 0 ? <p class="quiet">No device is connected.</p> : null}
      {sessions?.map((session) => (
        <Connection key={session.id} session={session} history={histories.get(session.id)} />
      ))}
      <h2>Received lately</h2>
      <Trouble text={finished.error} />
      <Table
        caption="Transfers, newest first"
        rows={finished.items}
        keyOf={({ id }) => id}
        empty="Nothing has been received yet."
        more={finished.more}
        columns={[
          { title: "File", of: ({ path }) => <Shown of={path} /> },
          { title: "Folder", of: ({ folder }) => <Shown of={folder} /> },
          { title: "Size", numeric: true, of: (transfer) => bytes(transfer.bytes) },
          { title: "When", of: ({ endedAt }) => <Time at={endedAt} /> },
          {
            title: "Outcome",
            of: ({ outcome, code }) => <Badge kind={outcome}>{code === null ? outcome : `${outcome}: ${code}`}</Badge>,
          },
        ]}
      />
    </>
  );
}

function Connection({ session, history }: { readonly session: Session; readonly history: History | undefined }) {
  const { label, folder, peer, state, connection, openedAt } = session;
  return (
    <section class="card" aria-label={visibleLabel(`Connection of ${label || peer} to ${folder}`)}>
      <h3>
        <Shown of={label || peer} />{" "}
        <span class="quiet">
          → <Shown of={folder} />
        </span>{" "}
        <Badge kind={state}>{state === "settled" ? "in step" : "syncing"}</Badge>
      </h3>
      <p class="quiet">
        {peer}, connected <Time at={openedAt} />
        {connection === null
          ? null
          : `, ${connection.edition} over ${connection.tier}: ${bytes(connection.bytesReceived)} received, ${bytes(connection.bytesSent)} sent, ${counted(connection.retransmissions, "retransmission")}, ${counted(connection.timeouts, "timeout")}, least round trip ${milliseconds(connection.minRttMs)}`}
      </p>
      {history === undefined ? null : (
        <div class="plots">
          <Plot title="Throughput" times={history.times} values={history.throughput} format={rate} />
          <Plot title="Congestion window" times={history.times} values={history.cwnd} format={bytes} />
          <Plot title="Round trip" times={history.times} values={history.rttMs} format={milliseconds} />
        </div>
      )}
    </section>
  );
}

/** The server tells once a second what goes on. */
function useMoment(): Moment {
  const { live } = useShell();
  const [moment, setMoment] = useState<Moment>({ sessions: undefined, transfers: [], histories: new Map() });
  useEffect(
    () =>
      live.listen(({ type, at, data }) => {
        if (type === "sessions") {
          const { sessions } = data as { sessions: Session[] };
          setMoment((before) => ({ ...before, sessions, histories: historiesOf(sessions, at, before.histories) }));
        } else if (type === "transfers") {
          const { transfers } = data as { transfers: ActiveTransfer[] };
          setMoment((before) => ({ ...before, transfers }));
        }
      }),
    [live],
  );
  return moment;
}

/** Of the connections that there are; those of others are forgotten. */
function historiesOf(
  sessions: readonly Session[],
  at: number,
  before: ReadonlyMap<string, History>,
): Map<string, History> {
  const histories = new Map<string, History>();
  for (const { id, connection } of sessions) {
    if (connection !== null) histories.set(id, extend(before.get(id), at, connection));
  }
  return histories;
}
