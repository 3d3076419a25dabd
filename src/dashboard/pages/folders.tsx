import { useState } from "preact/hooks";
import type { CreatedInvitation, Folder } from "../api.js";
import { post } from "../api.js";
import { bytes, count } from "../format.js";
import { Dialog } from "../parts/dialog.js";
import { InvitationDialog, Invited } from "../parts/invite.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, Table, Time, Trouble } from "../parts/show.js";
import { hrefOf } from "../router.js";

const STATES: Record<Folder["state"], string> = {
  idle: "nobody connected",
  syncing: "syncing",
  settled: "in step",
  held: "on hold",
  deleted: "deleted",
};

export function Folders() {
  const { me, say } = useShell();
  const { items, error, reload, more } = useRefreshed<Folder>("/folders", (event) => event.folder !== null);
  const [dialog, setDialog] = useState<"folder" | "invite" | null>(null);
  const [invited, setInvited] = useState<CreatedInvitation>();
  const [resuming, setResuming] = useState<string>();
  const admin = me.user.role === "admin";

  return (
    <>
      <header class="page">
        <h1>Folders</h1>
        {admin ? (
          <div class="buttons">
            <button type="button" onClick={() => setDialog("folder")}>
              New folder
            </button>
            <button type="button" class="primary" onClick={() => setDialog("invite")}>
              Invite a device
            </button>
          </div>
        ) : null}
      </header>
      <Trouble text={error} />
      <Table
        caption="Folders"
        rows={items}
        keyOf={({ name }) => name}
        empty="There is no folder yet. Invite a device: its first mirror makes one."
        more={more}
        columns={[
          {
            title: "Name",
            of: ({ name }) => <a href={hrefOf({ page: "files", folder: name, path: "" })}>{name}</a>,
          },
          { title: "State", of: ({ state }) => <Badge kind={state}>{STATES[state]}</Badge> },
          { title: "Files", numeric: true, of: ({ files }) => count(files) },
          { title: "Size", numeric: true, of: (folder) => sizeOf(folder) },
          { title: "Kept versions", numeric: true, of: ({ versionBytes }) => bytes(versionBytes) },
          { title: "Storage", numeric: true, of: (folder) => <Storage of={folder} /> },
          { title: "Last change", of: ({ changedAt }) => <Time at={changedAt} /> },
          { title: "Agreed root hash", of: ({ rootHash }) => <RootHash of={rootHash} /> },
          {
            title: "Actions",
            hidden: true,
            of: ({ name, state, access }) =>
              state === "held" && access === "write" ? (
                <button type="button" aria-label={`Resume ${name}`} onClick={() => setResuming(name)}>
                  Resume
                </button>
              ) : null,
          },
        ]}
      />
      {dialog === "folder" ? (
        <Dialog
          title="New folder"
          action="Make it"
          onClose={() => setDialog(null)}
          onAction={async (form) => {
            await post("/folders", { name: form.get("name") });
            say(`Folder ${String(form.get("name"))} is made.`);
            reload();
          }}
        >
          <label>
            Name
            <input name="name" required autoFocus maxLength={200} />
          </label>
        </Dialog>
      ) : null}
      {resuming === undefined ? null : (
        <Dialog
          title={`Resume ${resuming}?`}
          action="Resume"
          onClose={() => setResuming(undefined)}
          onAction={async () => {
            await post(`/folders/${encodeURIComponent(resuming)}/resume`);
            say(`${resuming} is open to its clients again.`);
            reload();
          }}
        >
          <p>
            Its clients make it equal to their folders again, and so undo what was restored where they differ. Bring
            back what you need on the clients first.
          </p>
        </Dialog>
      )}
      {dialog === "invite" ? <InvitationDialog onClose={() => setDialog(null)} onInvited={setInvited} /> : null}
      {invited === undefined ? null : <Invited created={invited} onClose={() => setInvited(undefined)} />}
    </>
  );
}

/** As much of it as tells two apart. */
function RootHash({ of: hash }: { readonly of: string | null }) {
  return hash === null ? null : <code title={hash}>{hash.slice(0, 12)}</code>;
}

function sizeOf({ bytes: size, limits }: Folder): string {
  return limits.quotaBytes === null ? bytes(size) : `${bytes(size)} of ${bytes(limits.quotaBytes)}`;
}

/** With its parts as a hint: what can be done about a full folder depends on them. */
function Storage({ of }: { readonly of: Folder }) {
  const { storageBytes, entries, versions, unfinishedBytes, limits } = of;
  const most = limits.entries === null ? "" : ` of ${count(limits.entries)}`;
  const parts = `${count(entries)}${most} entries, ${count(versions)} versions, unfinished uploads ${bytes(unfinishedBytes)}`;
  const limit = limits.storageBytes === null ? "" : ` of ${bytes(limits.storageBytes)}`;
  return <span title={parts}>{`${bytes(storageBytes)}${limit}`}</span>;
}
