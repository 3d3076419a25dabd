/** Modal questions and forms, as the browser's own dialogs: focus, Escape and the backdrop are its business. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { messageOf } from "./load.js";
import { Shown, Trouble } from "./show.js";

export interface DialogProps {
  readonly title: string;
  readonly children: ComponentChildren;
  /** What the button says that does it. Without, there is only one to close. */
  readonly action?: string;
  readonly dangerous?: boolean;
  /** What it rejects with is shown, and the dialog stays. */
  readonly onAction?: (form: FormData) => Promise<void>;
  readonly onClose: () => void;
}

export function Dialog({ title, children, action, dangerous, onAction, onClose }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  useEffect(() => dialog.current?.showModal(), []);

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (onAction === undefined) return onClose();
    setBusy(true);
    setError(undefined);
    try {
      await onAction(new FormData(event.currentTarget as HTMLFormElement));
      onClose();
    } catch (reason) {
      setError(messageOf(reason));
      setBusy(false);
    }
  };

  return (
    <dialog ref={dialog} aria-labelledby={titleId} onClose={onClose}>
      <form onSubmit={(event) => void submit(event as unknown as SubmitEvent)}>
        <h2 id={titleId}>
          <Shown of={title} />
        </h2>
        {children}
        <Trouble text={error} />
        <div class="buttons">
          <button type="button" onClick={onClose}>
            {action === undefined ? "Close" : "Cancel"}
          </button>
          {action === undefined ? null : (
            <button type="submit" class={dangerous ? "danger" : "primary"} disabled={busy}>
              {action}
            </button>
          )}
        </div>
      </form>
    </dialog>
  );
}
