import { useState } from "preact/hooks";
import { visibleLabel } from "../../text/visible.js";
import { type CreatedInvitation, type Device, type Invitation, patch, remove } from "../api.js";
import { Dialog } from "../parts/dialog.js";
import { InvitationDialog, Invited } from "../parts/invite.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, Shown, Table, Time, Trouble } from "../parts/show.js";

export function Devices() {
  const { say } = useShell();
  const concerns = ({ type }: { type: string }) => /^(device|invitation|session|grants)\./.test(type);
  const devices = useRefreshed<Device>("/devices", concerns);
  const invitations = useRefreshed<Invitation>("/invitations", concerns);
  const [inviting, setInviting] = useState(false);
  const [invited, setInvited] = useState<CreatedInvitation>();
  const [revoking, setRevoking] = useState<Device>();
  const [renaming, setRenaming] = useState<Device>();
  const [withdrawing, setWithdrawing] = useState<Invitation>();
  const names = new Map(devices.items?.map(({ id, name }) => [id, name]));

  return (
    <>
      <header class="page">
        <h1>Devices</h1>
        <div class="buttons">
          <button type="button" class="primary" onClick={() => setInviting(true)}>
            Invite a device
          </button>
        </div>
      </header>
      <Trouble text={devices.error} />
      <Table
        caption="Devices"
        rows={devices.items}
        keyOf={({ id }) => id}
        empty="No device is paired yet."
        more={devices.more}
        columns={[
          { title: "Name", of: ({ name }) => <Shown of={name} /> },
          { title: "State", of: (device) => <DeviceState device={device} /> },
          { title: "Role", of: ({ role }) => (role === "admin" ? "administrator" : "by folder") },
          { title: "Last seen", of: ({ lastSeenAt }) => <Time at={lastSeenAt} /> },
          { title: "Paired", of: ({ createdAt }) => <Time at={createdAt} /> },
          { title: "Key", of: ({ pin }) => <code title={pin}>{pin.slice(0, 12)}…</code> },
          {
            title: "Actions",
            hidden: true,
            of: (device) =>
              device.revokedAt === null ? (
                <span class="buttons">
                  <button
                    type="button"
                    aria-label={`Rename ${visibleLabel(device.name)}`}
                    onClick={() => setRenaming(device)}
                  >
                    Rename
                  </button>
                  <button
                    type="button"
                    class="danger"
                    aria-label={`Revoke ${visibleLabel(device.name)}`}
                    onClick={() => setRevoking(device)}
                  >
                    Revoke
                  </button>
                </span>
              ) : null,
          },
        ]}
      />
      <h2>Invitations</h2>
      <Trouble text={invitations.error} />
      <Table
        caption="Invitations"
        rows={invitations.items}
        keyOf={({ id }) => id}
        empty="There are none."
        more={invitations.more}
        columns={[
          { title: "Folder", of: ({ folder }) => <Shown of={folder ?? "any, as an administrator"} /> },
          { title: "May", of: ({ access }) => access },
          { title: "Made", of: ({ createdAt }) => <Time at={createdAt} /> },
          { title: "Ends", of: ({ expiresAt }) => <Time at={expiresAt} /> },
          {
            title: "Used",
            of: ({ usedAt, usedBy, withdrawnAt }) =>
              usedAt !== null ? (
                <>
                  <Time at={usedAt} /> by <Shown of={names.get(usedBy ?? "") ?? "a device"} />
                </>
              ) : withdrawnAt !== null ? (
                <>
                  withdrawn <Time at={withdrawnAt} />
                </>
              ) : (
                <span class="quiet">not yet</span>
              ),
          },
          {
            title: "Actions",
            hidden: true,
            of: (invitation) =>
              isOpen(invitation) ? (
                <button
                  type="button"
                  aria-label={`Withdraw the invitation ${visibleLabel(invitation.folder ?? "of an administrator")}`}
                  onClick={() => setWithdrawing(invitation)}
                >
                  Withdraw
                </button>
              ) : null,
          },
        ]}
      />
      {inviting ? <InvitationDialog onClose={() => setInviting(false)} onInvited={setInvited} /> : null}
      {invited === undefined ? null : (
        <Invited
          created={invited}
          onClose={() => {
            setInvited(undefined);
            invitations.reload();
          }}
        />
      )}
      {withdrawing === undefined ? null : (
        <Dialog
          title={`Withdraw the invitation to ${withdrawing.folder ?? "any folder"}?`}
          action="Withdraw"
          dangerous
          onClose={() => setWithdrawing(undefined)}
          onAction={async () => {
            await remove(`/invitations/${encodeURIComponent(withdrawing.id)}`);
            say("The invitation is withdrawn.");
            invitations.reload();
          }}
        >
          <p>Its address pairs no device any more.</p>
        </Dialog>
      )}
      {renaming === undefined ? null : (
        <Dialog
          title={`Another name for ${renaming.name}`}
          action="Rename"
          onClose={() => setRenaming(undefined)}
          onAction={async (form) => {
            const name = String(form.get("name"));
            await patch(`/devices/${encodeURIComponent(renaming.id)}`, { name });
            say(`The device is called ${name} now.`);
            devices.reload();
          }}
        >
          <label>
            Name
            <input name="name" required autoFocus maxLength={64} value={renaming.name} autoComplete="off" />
          </label>
        </Dialog>
      )}
      {revoking === undefined ? null : (
        <Dialog
          title={`Revoke ${revoking.name}?`}
          action="Revoke"
          dangerous
          onClose={() => setRevoking(undefined)}
          onAction={async () => {
            await remove(`/devices/${encodeURIComponent(revoking.id)}`);
            say(`${revoking.name} is revoked.`);
            devices.reload();
          }}
        >
          <p>Its connections end at once, and it can not come back without a new invitation. What it mirrored stays.</p>
        </Dialog>
      )}
    </>
  );
}

function isOpen({ usedAt, withdrawnAt, expiresAt }: Invitation): boolean {
  return usedAt === null && withdrawnAt === null && expiresAt > Date.now();
}

function DeviceState({ device: { revokedAt, connected } }: { readonly device: Device }) {
  if (revokedAt !== null) return <Badge kind="deleted">revoked</Badge>;
  return connected ? <Badge kind="settled">connected</Badge> : <Badge kind="idle">away</Badge>;
}
