/** Inviting a device: what it is for, then the address that pairs it. */
import { useState } from "preact/hooks";
import { type CreatedInvitation, post } from "../api.js";
import { ago } from "../format.js";
import { Dialog } from "./dialog.js";
import { Qr } from "./qr.js";

const HOUR_S = 3600;

export interface InvitationDialogProps {
  readonly onInvited: (created: CreatedInvitation) => void;
  readonly onClose: () => void;
}

export function InvitationDialog({ onInvited, onClose }: InvitationDialogProps) {
  return (
    <Dialog
      title="Invite a device"
      action="Make the address"
      onClose={onClose}
      onAction={async (form) => {
        onInvited(
          await post<CreatedInvitation>("/invitations", {
            folder: form.get("folder"),
            access: form.get("access"),
            expiresIn: Number(form.get("expiresIn")),
          }),
        );
      }}
    >
      <label>
        Folder
        <input name="folder" required autoFocus maxLength={200} autoCapitalize="none" />
      </label>
      <label>
        May
        <select name="access">
          <option value="write">mirror to it</option>
          <option value="read">only read it</option>
        </select>
      </label>
      <label>
        Good for
        <select name="expiresIn">
          <option value={HOUR_S}>an hour</option>
          <option value={24 * HOUR_S}>a day</option>
          <option value={7 * 24 * HOUR_S}>a week</option>
        </select>
      </label>
    </Dialog>
  );
}

/** The address is told once: it carries the code. */
export function Invited({
  created: { address, invitation },
  onClose,
}: {
  readonly created: CreatedInvitation;
  readonly onClose: () => void;
}) {
  const [copied, setCopied] = useState(false);
  const command = `confundo mirror FOLDER '${address}'`;
  const copy = () => navigator.clipboard.writeText(command).then(() => setCopied(true));
  return (
    <Dialog title={`An address for ${invitation.folder ?? "any folder"}`} onClose={onClose}>
      <p>On the device, this pairs and mirrors. It is good once, and ends {ago(invitation.expiresAt, Date.now())}.</p>
      <pre class="address">{command}</pre>
      <button type="button" onClick={() => void copy()}>
        {copied ? "Copied" : "Copy"}
      </button>
      <Qr text={address} label="The pairing address as a QR code" />
      <p class="quiet">It is not shown again. Who has it can write what it was made for: pass it on in private.</p>
    </Dialog>
  );
}
