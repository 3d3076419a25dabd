import { useState } from "preact/hooks";
import { visibleLabel } from "../../text/visible.js";
import type { CreatedInvitation, Folder } from "../api.js";
import { post, remove } from "../api.js";
import { bytes, count } from "../format.js";
import { Approval } from "../parts/approval.js";
import { Dialog } from "../parts/dialog.js";
import { InvitationDialog, Invited } from "../parts/invite.js";
import { messageOf } from "../parts/load.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, Shown, Table, Time, Trouble } from "../parts/show.js";
import { hrefOf } from "../router.js";

const STATES: Record<Folder["state"], string> = {
  idle: "nobody connected",
  syncing: "syncing",
  settled: "in step",
  "awaiting-approval": "deletes held back",
  held: "on hold",
  deleted: "deleted",
};

export function Folders() {
  const { me, say } = useShell();
  const { items, error, reload, more } = useRefreshed<Folder>("/folders", (event) => event.folder !== null);
  const [dialog, setDialog] = useState<"folder" | "invite" | null>(null);
  const [invited, setInvited] = useState<CreatedInvitation>();
  const [approving, setApproving] = useState<Folder>();
  const [resuming, setResuming] = useState<string>();
  const [deleting, setDeleting] = useState<string>();
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
            of: ({ name }) => (
              <a href={hrefOf({ page: "files", folder: name, path: "" })}>
                <Shown of={name} />
              </a>
            ),
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
            of: (folder) => {
              const { name, state, access, heldDeletes } = folder;
              return access === "write" ? (
                <span class="buttons">
                  {state === "held" ? (
                    <button type="button" aria-label={`Resume ${visibleLabel(name)}`} onClick={() => setResuming(name)}>
                      Resume
                    </button>
                  ) : null}
                  {heldDeletes === null ? null : (
                    <button
                      type="button"
                      aria-label={`Look at the deletes of ${visibleLabel(name)}`}
                      onClick={() => setApproving(folder)}
                    >
                      {`${count(heldDeletes.files)} deletes…`}
                    </button>
                  )}
                  {admin ? (
                    <button
                      type="button"
                      class="danger"
                      aria-label={`Delete ${visibleLabel(name)}`}
                      onClick={() => setDeleting(name)}
                    >
                      Delete
                    </button>
                  ) : null}
                </span>
              ) : null;
            },
          },
        ]}
      />
      {admin ? <DeletedFolders onRestored={reload} /> : null}
      {deleting === undefined ? null : (
        <Dialog
          title={`Delete ${deleting}?`}
          action="Delete"
          dangerous
          onClose={() => setDeleting(undefined)}
          onAction={async () => {
            await remove(`/folders/${encodeURIComponent(deleting)}`);
            say(`${deleting} is deleted. It can be restored for 30 days.`);
            reload();
          }}
        >
          <p>
            Its sessions end, and nobody sees it any more. For 30 days it can be restored as it is now; then its files
            and its kept versions are removed.
          </p>
        </Dialog>
      )}
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
      {approving === undefined || approving.heldDeletes === null ? null : (
        <Approval
          name={approving.name}
          held={approving.heldDeletes}
          onClose={() => setApproving(undefined)}
          onDone={() => {
            say(`The deletes of ${approving.name} are approved.`);
            reload();
          }}
        />
      )}
      {dialog === "invite" ? <InvitationDialog onClose={() => setDialog(null)} onInvited={setInvited} /> : null}
      {invited === undefined ? null : <Invited created={invited} onClose={() => setInvited(undefined)} />}
    </>
  );
}

/** Those that can be restored; nothing where there are none. */
function DeletedFolders({ onRestored }: { readonly onRestored: () => void }) {
  const { say } = useShell();
  const { items, error, reload } = useRefreshed<Folder>("/folders", (event) => event.folder !== null, {
    deleted: "true",
  });
  if (error === undefined && (items === undefined || items.length === 0)) return null;
  const restore = async (name: string): Promise<void> => {
    try {
      await post(`/folders/${encodeURIComponent(name)}/undelete`);
      say(`${name} is restored.`);
    } catch (reason) {
      say(messageOf(reason), "error");
    }
    reload();
    onRestored();
  };
  return (
    <>
      <h2>Deleted folders</h2>
      <Trouble text={error} />
      <Table
        caption="Deleted folders"
        rows={items}
        keyOf={({ name }) => name}
        empty="There are none."
        columns={[
          { title: "Name", of: ({ name }) => <Shown of={name} /> },
          { title: "Files", numeric: true, of: ({ files }) => count(files) },
          { title: "Size", numeric: true, of: (folder) => bytes(folder.bytes) },
          { title: "Deleted", of: ({ deletedAt }) => <Time at={deletedAt} /> },
          { title: "Kept until", of: ({ purgeAt }) => <Time at={purgeAt} /> },
          {
            title: "Actions",
            hidden: true,
            of: ({ name }) => (
              <button type="button" aria-label={`Restore ${visibleLabel(name)}`} onClick={() => void restore(name)}>
                Restore
              </button>
            ),
          },
        ]}
      />
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
