/** Deletes that a client holds back until somebody approves them. */
import type { Folder } from "../api.js";
import { post } from "../api.js";
import { count } from "../format.js";
import { Dialog } from "./dialog.js";
import { Shown } from "./show.js";

export interface ApprovalProps {
  readonly name: string;
  readonly held: NonNullable<Folder["heldDeletes"]>;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

const REASONS: Readonly<Record<ApprovalProps["held"]["reason"], string>> = {
  limit: "they are more than may be deleted without a question",
  empty: "its folder is empty",
  unfamiliar: "nothing says that its folder ever held these files",
  unmounted: "a disk in its folder is not mounted, or is another one",
};

/** Shows deletes that are held back, and approves exactly those. */
export function Approval({ name, held, onClose, onDone }: ApprovalProps) {
  const { id, reason, files, of, deleted, paths } = held;
  return (
    <Dialog
      title={`Delete ${count(files)} files?`}
      action="Delete them"
      dangerous
      onClose={onClose}
      onAction={async () => {
        await post(`/folders/${encodeURIComponent(name)}/approve`, { id, approved: true });
        onDone();
      }}
    >
      <p>
        The client of <Shown of={name} />{" "}
        {`holds their deletion back: ${REASONS[reason]}. It would cost ${count(files + deleted)} of ${count(of)} files. `}
        {deleted === 0 ? null : `${count(deleted)} were deleted already and are kept as versions. `}
        See whether its folder is complete before you approve.
      </p>
      {/* Keys scroll what has the focus. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reached without a mouse */}
      <ul class="paths" tabIndex={0} aria-label="Files that would be deleted">
        {paths.map((path) => (
          <li key={path}>
            <Shown of={path} />
          </li>
        ))}
        {files > paths.length ? <li>{`and ${count(files - paths.length)} more`}</li> : null}
      </ul>
    </Dialog>
  );
}
