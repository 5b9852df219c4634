// Every component as a row: the way in for the keyboard, for screen readers, and for people who want numbers.
import { useComputed, useSignal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { Component, ModelInfo } from "../../protocol/generated";
import { explained_step } from "../../store/explained";
import { shown_layers } from "../../store/layer_range";
import { activation_of, direct_of, factor_on } from "../../store/query";
import { same_component, type StepRecord } from "../../store/types";
import { ComponentRows, type Sort, type SortBy } from "./component_rows";
import { direct_name, kind_name, value_meaning, value_name } from "../component_words";
import { count_text, number_text, signed_text } from "../format";
import { range_text } from "../layer_words";
import { use_page, type ComponentFilter } from "../page";
import { throttled, type Shown } from "../shown_step";
import { Switch } from "../switch";
import { GridHeader, GridRow, RowGrid, type GridColumn } from "./row_grid";

const GRID = "component-grid";
const RESORT_MS = 700;
/** Above this many rows a sort takes long enough to be felt: only on demand. */
const LIVE_SORT_ROWS = 300_000;

export function ComponentTable({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const info = store.model_info.value;
  return info ? <Table info={info} shown={shown} /> : <p class="muted pad">No model yet.</p>;
}

function Table({ info, shown }: { info: ModelInfo; shown: Shown }): JSX.Element {
  const { store, actions, state } = use_page();
  const sort = useSignal<Sort>({ by: "id", descending: false });
  const rows = useMemo(() => new ComponentRows(info), [info]);
  const step = useComputed(() => explained_step(store, shown.step.value.step));
  const order = use_order(rows, sort, step);
  const range = shown_layers(store);
  /** Enter selects the first row found and hands the keys to the table. */
  const take_first = (event: KeyboardEvent): void => {
    const first = order?.[0];
    if (event.key !== "Enter" || first === undefined) return;
    event.preventDefault();
    actions.select(rows.component(first));
    document.getElementById(GRID)?.focus();
  };
  return (
    <div class="component-table">
      <div class="table-tools">
        <input type="search" id="component-search" placeholder="L12H3, L7N1404, L5, mlp …" aria-label="Search components"
          value={state.search.value} spellcheck={false} autocomplete="off"
          onInput={(event) => (state.search.value = event.currentTarget.value)} onKeyDown={take_first} />
        <label>
          <span class="visually-hidden">Show which components</span>
          <select value={state.filter.value}
            onChange={(event) => (state.filter.value = event.currentTarget.value as ComponentFilter)}>
            <option value="all">All kinds</option>
            <option value="head">Heads</option>
            <option value="neuron">Neurons</option>
            <option value="layer">Whole attention / MLP</option>
            <option value="changed">Changed by me</option>
          </select>
        </label>
        <span class="muted">
          {order === null ? "Write L12H3, L7N1404, L5.attn, L5 or H3" : `${count_text(order.length)} rows`}
          {range && `, layers ${range_text(range)}`}
        </span>
      </div>
      <Grid info={info} rows={rows} order={order ?? []} sort={sort} step={step.value} />
    </div>
  );
}

/** The rows shown, in order; re-sorted calmly while tokens come. */
function use_order(rows: ComponentRows, sort: Signal<Sort>, shown: ReadonlySignal<StepRecord | undefined>): readonly number[] | null {
  const { store, state } = use_page();
  const step_sorted = useSignal<StepRecord | undefined>(undefined);
  useEffect(() => {
    const resort = throttled(() => (step_sorted.value = shown.peek()), RESORT_MS);
    return shown.subscribe(() => {
      if (rows.n_rows <= LIVE_SORT_ROWS || store.run.peek()?.state !== "running") resort();
    });
  }, [rows, shown]);
  const { by, descending } = sort.value;
  const step = by === "id" ? undefined : step_sorted.value;
  const [search, filter] = [state.search.value, state.filter.value];
  const interventions = filter === "changed" ? store.interventions.value : null;
  const range = shown_layers(store);
  return useMemo(() => {
    const touched = new Set(interventions?.flatMap((spec) => spec.components.map((component) => rows.row(component))));
    const selected = rows.select(filter, search, touched, range);
    return selected && rows.sort(selected, { by, descending }, step);
  }, [rows, by, descending, step, search, filter, interventions, range]);
}

interface GridProps {
  info: ModelInfo;
  rows: ComponentRows;
  order: readonly number[];
  sort: Signal<Sort>;
  /** As it is shown: of this run, of the other, with what was asked or measured. */
  step: StepRecord | undefined;
}

function Grid({ info, rows, order, sort, step }: GridProps): JSX.Element {
  const { store, actions, state } = use_page();
  const selection = store.selection.value;
  const active = useMemo(() => (selection ? order.indexOf(rows.row(selection)) : -1), [selection, order, rows]);
  const { by, descending } = sort.value;
  const columns = columns_of(step);
  return (
    <RowGrid id={GRID} label="Components" n_rows={order.length} n_columns={columns.length} active={active}
      selection={selection} read_anew={[by, descending, state.search.value, state.filter.value, shown_layers(store)]}
      header={<GridHeader columns={columns} sort={sort.value} on_sort={(next) => (sort.value = next)} />}
      on_choose={(index) => actions.select(rows.component(order[index]!))}
      row={(index, top) => (
        <Row key={order[index]} index={index} top={top} component={rows.component(order[index]!)} info={info} step={step} />
      )} />
  );
}

function columns_of(step: StepRecord | undefined): GridColumn<SortBy>[] {
  return [
    { by: "id", label: "Component" },
    { by: null, label: "Kind" },
    { by: "value", label: value_name(step) },
    { by: "direct", label: direct_name(step) },
    { by: null, label: "Ablated" },
  ];
}

interface RowProps {
  index: number;
  top: number;
  component: Component;
  info: ModelInfo;
  step: StepRecord | undefined;
}

function Row({ index, top, component, info, step }: RowProps): JSX.Element {
  const { store, actions } = use_page();
  const is_selected = useComputed(() => same_component(store.selection.value, component)).value;
  const factor = factor_on(store.interventions.value, component);
  const value = activation_of(step, component, info);
  const direct = direct_of(step, component, info);
  const id = component_id(component);
  return (
    <GridRow id={GRID} index={index} top={top} is_selected={is_selected} is_changed={factor !== null}
      on_choose={() => actions.select(component)}>
      <div role="gridcell" class="id">{id}</div>
      <div role="gridcell" class="muted">{kind_name(component)}</div>
      <div role="gridcell" class="number" title={value_meaning(component)}>
        {step?.compared === "difference" ? signed_text(value) : number_text(value)}
      </div>
      <div role="gridcell" class="number" data-sign={direct === null ? undefined : Math.sign(direct)}>{signed_text(direct)}</div>
      <div role="gridcell" class="ablate">
        <Switch checked={factor === 0} disabled={store.replay.value !== null} label={`Ablate ${id}`}
          on_change={() => actions.toggle(component)} />
        {factor !== null && factor !== 0 && <span class="off-mark">× {number_text(factor)}</span>}
      </div>
    </GridRow>
  );
}
