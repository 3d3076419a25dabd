import { useState } from "preact/hooks";
import { visibleLabel } from "../../text/visible.js";
import { contentAddress, post, type Restored, type Version } from "../api.js";
import { bytes, counted, moment } from "../format.js";
import { Dialog } from "../parts/dialog.js";
import { useRefreshed } from "../parts/refresh.js";
import { useShell } from "../parts/shell.js";
import { Badge, Shown, Table, Time, Trouble } from "../parts/show.js";
import { Crumbs } from "./files.js";

/** What was replaced or deleted: of one file, or below a directory (`path` ends with a slash, or is empty). */
export function Versions({ folder, path }: { readonly folder: string; readonly path: string }) {
  const { say } = useShell();
  const versions = useRefreshed<Version>(
    `/folders/${encodeURIComponent(folder)}/versions`,
    (event) => event.folder === folder,
    path === "" ? {} : { path },
  );
  const [asked, setAsked] = useState<Version | "time" | null>(null);
  const several = path === "" || path.endsWith("/");

  const restore = async (body: unknown, what: string): Promise<void> => {
    const { changed } = await post<Restored>(`/folders/${encodeURIComponent(folder)}/restore`, body);
    say(`${what} is restored: ${counted(changed, "change")}. The folder is on hold until it is resumed.`);
    versions.reload();
  };

  return (
    <>
      <header class="page">
        <Crumbs folder={folder} path={path} />
        <div class="buttons">
          <button type="button" onClick={() => setAsked("time")}>
            Go back to a time
          </button>
        </div>
      </header>
      <h2>{several ? "What was replaced or deleted" : "Earlier versions"}</h2>
      <Trouble text={versions.error} />
      <Table
        caption="Versions, newest first"
        rows={versions.items}
        keyOf={({ path, version }) => `${path}\n${version}`}
        empty="Nothing has been replaced or deleted here, or it was long ago."
        more={versions.more}
        columns={[
          { title: "File", of: ({ path }) => <Shown of={path} /> },
          { title: "Version", numeric: true, of: ({ version }) => version },
          { title: "Size", numeric: true, of: ({ kind, size }) => (kind === "file" ? bytes(size) : kind) },
          { title: "Until", of: ({ endedAt }) => <Time at={endedAt} /> },
          { title: "Then", of: ({ why }) => <Badge kind={why}>{why}</Badge> },
          {
            title: "Actions",
            hidden: true,
            of: (version) => (
              <span class="buttons">
                {version.kind === "file" ? (
                  <a href={contentAddress(folder, version.path, version.version)} download={nameOf(version.path)}>
                    Download
                  </a>
                ) : null}
                <button
                  type="button"
                  aria-label={`Restore version ${version.version} of ${visibleLabel(version.path)}`}
                  onClick={() => setAsked(version)}
                >
                  Restore
                </button>
              </span>
            ),
          },
        ]}
      />
      {asked === "time" ? (
        <TimeDialog
          what={path === "" ? folder : path}
          onClose={() => setAsked(null)}
          onTime={(at) =>
            restore({ ...(path === "" ? {} : { path: path.replace(/\/$/, "") }), at }, path === "" ? folder : path)
          }
        />
      ) : null}
      {asked !== null && asked !== "time" ? (
        <Dialog
          title={`Restore ${nameOf(asked.path)}?`}
          action="Restore"
          onClose={() => setAsked(null)}
          onAction={() => restore({ path: asked.path, version: asked.version }, asked.path)}
        >
          <p>
            <Shown of={asked.path} /> becomes what it was until {moment(asked.endedAt)}. What is there now is kept as a
            version in turn.
          </p>
        </Dialog>
      ) : null}
    </>
  );
}

interface TimeDialogProps {
  readonly what: string;
  readonly onTime: (at: number) => Promise<void>;
  readonly onClose: () => void;
}

function TimeDialog({ what, onTime, onClose }: TimeDialogProps) {
  return (
    <Dialog
      title={`Restore ${what} to a time`}
      action="Restore"
      dangerous
      onClose={onClose}
      onAction={(form) => onTime(new Date(String(form.get("at"))).getTime())}
    >
      <p>Everything becomes what it was then. What is there now is kept as versions in turn.</p>
      <label>
        Time
        <input name="at" type="datetime-local" step={1} required autoFocus max={moment(Date.now()).replace(" ", "T")} />
      </label>
    </Dialog>
  );
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
