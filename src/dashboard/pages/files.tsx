import { visibleLabel } from "../../text/visible.js";
import { contentAddress, type Entry } from "../api.js";
import { bytes, permissions } from "../format.js";
import { useRefreshed } from "../parts/refresh.js";
import { Shown, Table, Time, Trouble } from "../parts/show.js";
import { hrefOf } from "../router.js";

/** One directory of a folder. */
export function Files({ folder, path }: { readonly folder: string; readonly path: string }) {
  const inside = path === "" ? "" : `${path}/`;
  const { items, error, more } = useRefreshed<Entry>(
    `/folders/${encodeURIComponent(folder)}/entries`,
    (event) => event.folder === folder,
    path === "" ? {} : { path },
  );
  return (
    <>
      <header class="page">
        <Crumbs folder={folder} path={path} />
        <div class="buttons">
          <a class="button" href={hrefOf({ page: "versions", folder, path: inside })}>
            Versions{path === "" ? "" : " in here"}
          </a>
        </div>
      </header>
      <Trouble text={error} />
      <Table
        caption={visibleLabel(`Files in ${folder}/${path}`)}
        rows={items}
        keyOf={({ path }) => path}
        empty="There is nothing in here."
        more={more}
        columns={[
          {
            title: "Name",
            of: (entry) => <Name folder={folder} entry={entry} shown={entry.path.slice(inside.length)} />,
          },
          { title: "Size", numeric: true, of: ({ kind, size }) => (kind === "file" ? bytes(size) : "") },
          { title: "Changed", of: ({ modifiedAt }) => <Time at={modifiedAt} /> },
          { title: "Arrived", of: ({ storedAt }) => <Time at={storedAt} /> },
          { title: "Mode", of: ({ mode }) => <code>{permissions(mode)}</code> },
          { title: "Actions", hidden: true, of: (entry) => <Actions folder={folder} entry={entry} /> },
        ]}
      />
    </>
  );
}

function Name({ folder, entry, shown }: { readonly folder: string; readonly entry: Entry; readonly shown: string }) {
  if (entry.kind === "directory")
    return (
      <a href={hrefOf({ page: "files", folder, path: entry.path })}>
        <Shown of={`${shown}/`} />
      </a>
    );
  if (entry.kind === "link")
    return (
      <>
        <Shown of={shown} />{" "}
        <span class="quiet">
          → <Shown of={entry.target ?? ""} />
        </span>
      </>
    );
  return (
    <a href={contentAddress(folder, entry.path)} download={shown}>
      <Shown of={shown} />
    </a>
  );
}

function Actions({ folder, entry: { kind, path } }: { readonly folder: string; readonly entry: Entry }) {
  if (kind !== "file") return null;
  return (
    <a href={hrefOf({ page: "versions", folder, path })} aria-label={`Versions of ${visibleLabel(path)}`}>
      Versions
    </a>
  );
}

/** Where we are, each part a way back. */
export function Crumbs({ folder, path }: { readonly folder: string; readonly path: string }) {
  const parts = path.split("/").filter((part) => part !== "");
  return (
    <nav aria-label="Where we are">
      <h1 class="crumbs">
        <a href={hrefOf({ page: "folders" })}>Folders</a>
        {[folder, ...parts].map((part, index) => (
          <span key={index}>
            <span class="quiet" aria-hidden="true">
              {" / "}
            </span>
            <a
              href={hrefOf({ page: "files", folder, path: parts.slice(0, index).join("/") })}
              aria-current={index === parts.length ? "page" : undefined}
            >
              <Shown of={part} />
            </a>
          </span>
        ))}
      </h1>
    </nav>
  );
}
