import { useState } from "preact/hooks";
import { type CreatedInvitation, type Device, type Invitation, remove } from "../api.js";
import { Dialog } from "../parts/dialog.js";
import { InvitationDialog, Invited } from "../parts/invite.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, Table, Time, Trouble } from "../parts/show.js";

export function Devices() {
  const { say } = useShell();
  const concerns = ({ type }: { type: string }) => /^(device|invitation|session|grants)\./.test(type);
  const devices = useRefreshed<Device>("/devices", concerns);
  const invitations = useRefreshed<Invitation>("/invitations", concerns);
  const [inviting, setInviting] = useState(false);
  const [invited, setInvited] = useState<CreatedInvitation>();
  const [revoking, setRevoking] = useState<Device>();
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
          { title: "Name", of: ({ name }) => name },
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
                <button
                  type="button"
                  class="danger"
                  aria-label={`Revoke ${device.name}`}
                  onClick={() => setRevoking(device)}
                >
                  Revoke
                </button>
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
          { title: "Folder", of: ({ folder }) => folder ?? "any, as an administrator" },
          { title: "May", of: ({ access }) => access },
          { title: "Made", of: ({ createdAt }) => <Time at={createdAt} /> },
          { title: "Ends", of: ({ expiresAt }) => <Time at={expiresAt} /> },
          {
            title: "Used",
            of: ({ usedAt, usedBy }) =>
              usedAt === null ? (
                <span class="quiet">not yet</span>
              ) : (
                <>
                  <Time at={usedAt} /> by {names.get(usedBy ?? "") ?? "a device"}
                </>
              ),
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

function DeviceState({ device: { revokedAt, connected } }: { readonly device: Device }) {
  if (revokedAt !== null) return <Badge kind="deleted">revoked</Badge>;
  return connected ? <Badge kind="settled">connected</Badge> : <Badge kind="idle">away</Badge>;
}
