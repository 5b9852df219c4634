// A long list of components as a grid: rows drawn where they are seen, walked by keys, sorted by a press on a column.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { use_virtual_rows } from "./virtual_rows";

const ROW_HEIGHT = 26;

export interface RowGridProps {
  /** Of the element; rows are `ID-row-N`. */
  id: string;
  label: string;
  n_rows: number;
  n_columns: number;
  /** The selected row; -1 where it is not among them. */
  active: number;
  /** Brought into view when it becomes another. */
  selection: unknown;
  /** The grid is read from its beginning where one of these becomes another. */
  read_anew?: readonly unknown[];
  header: ComponentChildren;
  on_choose(index: number): void;
  /** Row `index`, `top` pixels from the top. */
  row(index: number, top: number): JSX.Element;
}

/** Where a key leads from row `active`; none where it leads nowhere. */
function row_of_key(event: KeyboardEvent, active: number, n_rows: number, page_rows: number): number | null {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const moves: Record<string, number> = {
    ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page_rows, PageUp: active - page_rows,
    Home: 0, End: n_rows - 1,
  };
  return moves[event.key] ?? null;
}

export function RowGrid(props: RowGridProps): JSX.Element {
  const { id, n_rows, active } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const view = use_virtual_rows(scroller, n_rows, ROW_HEIGHT, ROW_HEIGHT);
  useEffect(() => {
    if (active >= 0) view.reveal(active);
  }, [props.selection]);
  useEffect(() => {
    if (scroller.current) scroller.current.scrollTop = 0;
  }, props.read_anew ?? []);
  const on_key = (event: KeyboardEvent): void => {
    const to = row_of_key(event, active, n_rows, Math.max(1, view.n_visible - 2));
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    if (n_rows > 0) props.on_choose(Math.max(0, Math.min(n_rows - 1, to)));
  };
  const is_active_drawn = active >= view.first && active < view.first + view.n_visible;
  return (
    <div class="grid" role="grid" aria-label={props.label} aria-rowcount={n_rows + 1} aria-colcount={props.n_columns}
      tabIndex={0} id={id} onKeyDown={on_key} aria-activedescendant={is_active_drawn ? `${id}-row-${active}` : undefined}>
      <div class="grid-body" ref={scroller}>
        {props.header}
        <div class="grid-space" role="rowgroup" style={{ height: `${view.height}px` }}>
          {Array.from({ length: view.n_visible }, (_, i) => props.row(view.first + i, view.top_of(view.first + i)))}
        </div>
      </div>
    </div>
  );
}

export interface GridColumn<By extends string> {
  /** What a press on it sorts by; null where it does not sort. */
  by: By | null;
  label: string;
  title?: string;
}

export interface GridSort<By extends string> {
  by: By;
  descending: boolean;
}

interface HeaderProps<By extends string> {
  columns: readonly GridColumn<By>[];
  sort: GridSort<By>;
  on_sort(sort: GridSort<By>): void;
}

/** A first press on a column sorts ids upwards and numbers downwards, a second one turns it. */
export function GridHeader<By extends string>({ columns, sort, on_sort }: HeaderProps<By>): JSX.Element {
  return (
    <div role="rowgroup" class="grid-head">
      <div role="row" aria-rowindex={1} class="grid-row">
        {columns.map(({ by, label, title }) => {
          const direction = by !== sort.by ? null : sort.descending ? "descending" : "ascending";
          return (
            <div role="columnheader" key={`${by} ${label}`} title={title} aria-sort={direction ?? undefined}>
              {by === null ? label : (
                <button type="button" onClick={() => on_sort({ by, descending: direction ? !sort.descending : by !== "id" })}>
                  {label}<span aria-hidden="true">{direction && (direction === "descending" ? " ↓" : " ↑")}</span>
                </button>
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface RowProps {
  /** The grid's. */
  id: string;
  index: number;
  top: number;
  is_selected: boolean;
  is_changed?: boolean;
  on_choose(): void;
  children: ComponentChildren;
}

export function GridRow({ id, index, top, is_selected, is_changed, on_choose, children }: RowProps): JSX.Element {
  return (
    <div role="row" class="grid-row" id={`${id}-row-${index}`} aria-rowindex={index + 2} aria-selected={is_selected}
      data-changed={is_changed || undefined} style={{ transform: `translateY(${top}px)` }} onClick={on_choose}>
      {children}
    </div>
  );
}
