// Measured and attributed side by side, on one scale: layers across, heads down.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import type { EffectsAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import { number_text, percent_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";
import { HeatGrid, type GridCell } from "./heat_grid";
import { largest_size } from "./paint";

interface Laid {
  n_rows: number;
  n_columns: number;
  /** Index into the answer by cell; -1 where nothing was measured. */
  index_of: Int32Array;
}

/** Where each measured component lies: a column a layer, a row a head (one row for whole layers). */
export function lay_out(components: readonly Component[], n_layers: number, n_heads: number): Laid {
  const n_rows = components.some(({ kind }) => kind === "head") ? n_heads : 1;
  const index_of = new Int32Array(n_rows * n_layers).fill(-1);
  components.forEach(({ kind, layer, index }, i) => {
    index_of[(kind === "head" ? index : 0) * n_layers + layer] = i;
  });
  return { n_rows, n_columns: n_layers, index_of };
}

function spread(values: HostTensor, laid: Laid): Float32Array {
  return Float32Array.from(laid.index_of, (i) => (i < 0 ? Number.NaN : (values.values[i] ?? Number.NaN)));
}

export function CausalGrids({ answer }: { answer: EffectsAnswer }): JSX.Element | null {
  const { store, actions } = use_page();
  const hovered = useSignal<GridCell | null>(null);
  const info = store.model_info.value;
  const laid = useMemo(() => info && lay_out(answer.components, info.n_layers, info.n_heads), [answer, info]);
  const measured = useMemo(() => laid && spread(answer.effects, laid), [answer, laid]);
  const attributed = useMemo(() => laid && answer.attributed && spread(answer.attributed, laid), [answer, laid]);
  if (!laid || !measured) return null;
  const scale = largest_size([...measured, ...(attributed ?? [])]);
  const component_at = (cell: GridCell | null): Component | null =>
    (cell && answer.components[laid.index_of[cell.row * laid.n_columns + cell.column] ?? -1]) ?? null;
  const selected = cell_of(store.selection.value, answer, laid);
  const cell = hovered.value ?? selected;
  const shared = { n_rows: laid.n_rows, n_columns: laid.n_columns, scale, hovered, selected,
    on_pick: (picked: GridCell) => {
      const component = component_at(picked);
      if (component) actions.select(component);
    } };
  return (
    <div class="causal-grids">
      <div class="causal-pair">
        <HeatGrid {...shared} title="Measured" values={measured}
          label={`Measured effects of ${answer.components.length} components; the table beside has every number`} />
        {attributed && <HeatGrid {...shared} title="Attributed" values={attributed}
          label={`Attributed contributions of ${answer.components.length} components; the table beside has every number`} />}
      </div>
      <p class="muted heat-legend">
        <i class="heat-ramp" aria-hidden="true" /> −{number_text(scale)} to +{number_text(scale)} logits. + (orange) helps, − (blue) holds it back.
      </p>
      <Reading answer={answer} cell={cell} laid={laid} component={component_at(cell)} />
    </div>
  );
}

function cell_of(component: Component | null, answer: EffectsAnswer, laid: Laid): GridCell | null {
  const i = component ? answer.components.findIndex((other) => component_id(other) === component_id(component)) : -1;
  const at = i < 0 ? -1 : laid.index_of.indexOf(i);
  return at < 0 ? null : { row: Math.floor(at / laid.n_columns), column: at % laid.n_columns };
}

function Reading({ answer, cell, laid, component }: {
  answer: EffectsAnswer; cell: GridCell | null; laid: Laid; component: Component | null;
}): JSX.Element {
  if (!cell || !component) return <p class="muted heat-reading">Point at a cell for its numbers; a click selects it.</p>;
  const i = laid.index_of[cell.row * laid.n_columns + cell.column] ?? -1;
  return (
    <p class="heat-reading">
      <b>{component_id(component)}</b> measured {signed_text(answer.effects.values[i])}
      {answer.attributed && `, attributed ${signed_text(answer.attributed.values[i])}`}; {token_quote(answer.metric.target_text)}{" "}
      {percent_text(answer.probs.values[i])} without it
    </p>
  );
}
