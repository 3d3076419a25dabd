import type { AuditEntry } from "../api.js";
import { moment } from "../format.js";
import { useListed } from "../parts/load.js";
import { Badge, Shown, Table, Trouble } from "../parts/show.js";

export function Audit() {
  const { items, error, reload, more } = useListed<AuditEntry>("/audit");
  return (
    <>
      <header class="page">
        <h1>Audit log</h1>
        <div class="buttons">
          <button type="button" onClick={reload}>
            Refresh
          </button>
        </div>
      </header>
      <Trouble text={error} />
      <Table
        caption="Who did what, newest first"
        rows={items}
        keyOf={({ id }) => id}
        empty="Nothing has been written down yet."
        more={more}
        columns={[
          { title: "When", of: ({ at }) => <time dateTime={new Date(at).toISOString()}>{moment(at)}</time> },
          { title: "Who", of: ({ actor }) => <Shown of={actor} /> },
          { title: "Did", of: ({ action }) => <code>{action}</code> },
          { title: "To", of: ({ target }) => (target === null ? null : <Shown of={target} />) },
          { title: "Outcome", of: ({ outcome }) => <Badge kind={outcome}>{outcome}</Badge> },
          { title: "From", of: ({ address }) => address },
          { title: "Detail", of: ({ detail }) => (detail === null ? null : <Shown of={detail} />) },
        ]}
      />
    </>
  );
}
