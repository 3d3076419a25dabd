/** Small things that every page shows the same way. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { visibleParts } from "../../text/visible.js";
import { ago, moment } from "../format.js";

/** How long ago, with the exact time for who points at it, and for programs. */
export function Time({ at }: { readonly at: number | null }) {
  const now = useNow(10_000);
  if (at === null) return <span class="quiet">never</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={moment(at)}>
      {ago(at, now)}
    </time>
  );
}

/** The time, anew every so often. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** A name that others chose: what could not be seen, or would turn it around, stands out. It never reorders its neighbours. */
export function Shown({ of: name }: { readonly of: string }) {
  return (
    <bdi class="name">
      {visibleParts(name).map(({ text, invisible }, index) =>
        invisible ? (
          <span key={index} class="invisible" title="A character that cannot be seen, or that turns text around">
            {text}
          </span>
        ) : (
          text
        ),
      )}
    </bdi>
  );
}

export function Trouble({ text }: { readonly text: string | undefined }) {
  return text === undefined ? null : (
    <p class="trouble" role="alert">
      <Shown of={text} />
    </p>
  );
}

export interface Column<T> {
  readonly title: string;
  readonly of: (row: T) => ComponentChildren;
  /** Right-aligned. */
  readonly numeric?: boolean;
  /** Only for screen readers: a column of buttons, say. */
  readonly hidden?: boolean;
}

export interface TableProps<T> {
  /** What it lists, for screen readers. */
  readonly caption: string;
  readonly rows: readonly T[] | undefined;
  readonly keyOf: (row: T) => string | number;
  /** The first one names the row. */
  readonly columns: readonly Column<T>[];
  readonly empty: string;
  readonly more?: (() => void) | undefined;
}

/** On a narrow screen each row becomes a card, with the column titles beside the values. */
export function Table<T>({ caption, rows, keyOf, columns, empty, more }: TableProps<T>) {
  if (rows === undefined) return <p class="quiet">Loading…</p>;
  if (rows.length === 0) return <p class="quiet">{empty}</p>;
  return (
    <>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ title, numeric, hidden }) => (
              <th key={title} scope="col" class={numeric ? "numeric" : undefined}>
                {hidden ? <span class="unseen">{title}</span> : title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map(({ title, of, numeric, hidden }, index) =>
                index === 0 ? (
                  <th key={title} scope="row">
                    {of(row)}
                  </th>
                ) : (
                  <td key={title} class={numeric ? "numeric" : undefined} data-title={hidden ? undefined : title}>
                    {of(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
      {more === undefined ? null : (
        <button type="button" class="more" onClick={more}>
          Show more
        </button>
      )}
    </>
  );
}

export function Badge({ kind, children }: { readonly kind: string; readonly children: ComponentChildren }) {
  return <span class={`badge badge-${kind}`}>{children}</span>;
}

export function ProgressBar({
  label,
  done,
  of,
}: {
  readonly label: string;
  readonly done: number;
  readonly of: number;
}) {
  return <progress aria-label={label} value={Math.min(done, of)} max={Math.max(of, 1)} />;
}
