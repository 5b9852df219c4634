// A table of parts in the shown layers, the foremost first: the first rows at once, the rest on demand; a click on a part's name selects it.
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { same_component } from "../../store/types";
import { use_page } from "../page";

const FIRST_ROWS = 40;

interface MeasuredTableProps<Row> {
  head: ComponentChildren;
  rows: readonly Row[];
  component_of: (row: Row) => Component;
  /** The cells beside the name. */
  cells: (row: Row) => ComponentChildren;
  /** What the rows not yet shown are called: `weaker`, `more`. */
  rest_word: string;
  class?: string;
}

export function MeasuredTable<Row>({ head, rows, component_of, cells, rest_word, ...rest }: MeasuredTableProps<Row>): JSX.Element {
  const shows_all = useSignal(false);
  const range = shown_layers(use_page().store);
  const listed = range ? rows.filter((row) => is_layer_shown(range, component_of(row).layer)) : rows;
  const shown = shows_all.value ? listed : listed.slice(0, FIRST_ROWS);
  return (
    <div class={`measured-place ${rest.class ?? ""}`}>
      <table class="measured">
        <thead><tr>{head}</tr></thead>
        <tbody>
          {shown.map((row) => (
            <PartRow key={component_id(component_of(row))} component={component_of(row)}>{cells(row)}</PartRow>
          ))}
        </tbody>
      </table>
      {listed.length > shown.length && (
        <button type="button" class="button small" onClick={() => (shows_all.value = true)}>
          Show {listed.length - shown.length} {rest_word}
        </button>
      )}
    </div>
  );
}

function PartRow({ component, children }: { component: Component; children: ComponentChildren }): JSX.Element {
  const { store, actions } = use_page();
  const is_selected = same_component(store.selection.value, component);
  return (
    <tr data-selected={is_selected || undefined}>
      <th scope="row">
        <button type="button" class="link" aria-pressed={is_selected} onClick={() => actions.select(component)}>
          {component_id(component)}
        </button>
      </th>
      {children}
    </tr>
  );
}
