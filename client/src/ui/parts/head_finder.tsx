// Every head of the model by what it does: sort and filter by any score, choose one to see it in the picture.
import { useComputed, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Component, ModelInfo } from "../../protocol/generated";
import type { HeadScoresAnswer } from "../../protocol/questions";
import { EMPTY_SLOT } from "../../store/inquiry";
import { same_component, type StepRecord } from "../../store/types";
import { count_text, number_text, signed_text } from "../format";
import { use_page } from "../page";
import { throttled, type Shown } from "../shown_step";
import { GridHeader, GridRow, RowGrid, type GridColumn } from "../drawer/row_grid";
import { use_missing, Working } from "./asking";
import { filter_rows, finder_rows, sort_rows, type FinderColumn, type FinderRow, type FinderSort } from "./finder_rows";
import { SCORES } from "./score_words";

const GRID = "finder-grid";
const RESORT_MS = 700;

const COLUMNS: readonly (GridColumn<FinderSort["by"]> & { by: FinderSort["by"] })[] = [
  { by: "id", label: "Head", title: "Layer and head" },
  ...SCORES.map(({ name, label, means, misleads }) => ({ by: name, label, title: `${means} ${misleads}` })),
  { by: "norm", label: "Norm here", title: "Norm of what the head writes at the shown token" },
  { by: "direct", label: "Direct logit", title: "Direct contribution to the metric at the shown token, in logits" },
];

export function HeadFinder({ shown }: { shown: Shown }): JSX.Element {
  const { store, actions, state } = use_page();
  const missing = use_missing("head_scores");
  const info = store.model_info.value;
  const has_run = store.run.value !== null;
  const key = info ? `${info.model_name} ${info.weights_sha256}` : "";
  const slot = state.parts.head_scores.slots.value.get(key) ?? EMPTY_SLOT;
  const ask = (): void => void state.parts.head_scores.ask(key, actions.ask, { type: "request_head_scores" });
  useEffect(() => {
    if (info && !missing && has_run && !slot.answer && !slot.progress && !slot.error) ask();
  }, [key, missing, has_run]);
  if (!info) return <p class="muted pad">No model yet.</p>;
  if (missing) return <p class="muted pad">No scores: {missing}</p>;
  if (slot.answer) return <Finder info={info} answer={slot.answer} shown={shown} />;
  if (!has_run) return <p class="muted pad">Run a prompt first: the heads are measured after it.</p>;
  return (
    <div class="pad finder-wait">
      <p>Every head is measured once on repeated random tokens; the result is kept for this model.</p>
      {slot.error && <p role="alert">{slot.error}</p>}
      {slot.progress
        ? <Working progress={slot.progress} on_cancel={() => state.parts.head_scores.clear()} />
        : <button type="button" class="button small" onClick={ask}>Measure</button>}
    </div>
  );
}

function Finder({ info, answer, shown }: { info: ModelInfo; answer: HeadScoresAnswer; shown: Shown }): JSX.Element {
  const { actions, state } = use_page();
  const { finder_search, finder_least, finder_sort } = state.parts;
  const step = use_calm_step(shown);
  const found = useMemo(
    () => filter_rows(finder_rows(answer.scores, info, step), finder_search.value, finder_least.value),
    [answer, info, step, finder_search.value, finder_least.value],
  );
  const rows = useMemo(() => sort_rows(found ?? [], finder_sort.value), [found, finder_sort.value]);
  const take_first = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || !rows[0]) return;
    event.preventDefault();
    actions.select(head_of(rows[0]));
    document.getElementById(GRID)?.focus();
  };
  return (
    <div class="component-table head-finder">
      <div class="table-tools">
        <input type="search" placeholder="L18, H6, L18H6 …" aria-label="Search heads" id="finder-search"
          value={finder_search.value} spellcheck={false} autocomplete="off"
          onInput={(event) => (finder_search.value = event.currentTarget.value)} onKeyDown={take_first} />
        <span class="muted" role="status">{found === null ? "Write L18, H6 or L18H6" : `${count_text(rows.length)} heads`}</span>
        {COLUMNS.map(({ by, label }) => by !== "id" && <Least key={by} column={by} label={label} />)}
      </div>
      <Grid rows={rows} />
    </div>
  );
}

/** The step whose numbers are sorted by, changing calmly while tokens come. */
function use_calm_step(shown: Shown): StepRecord | undefined {
  const calm = useSignal<StepRecord | undefined>(shown.step.peek().step);
  useEffect(() => shown.step.subscribe(throttled(() => (calm.value = shown.step.peek().step), RESORT_MS)), []);
  return calm.value;
}

/** The least that a head must have of one score. */
function Least({ column, label }: { column: FinderColumn; label: string }): JSX.Element {
  const { finder_least } = use_page().state.parts;
  const set = (text: string): void => {
    const others = { ...finder_least.peek() };
    delete others[column];
    const bound = Number(text);
    finder_least.value = text.trim() === "" || !Number.isFinite(bound) ? others : { ...others, [column]: bound };
  };
  const name = column === "direct" ? `|${label}|` : label;
  return (
    <label class="least">
      <span class="muted">{name} ≥</span>
      <input type="number" step={column === "norm" ? 1 : 0.05} value={finder_least.value[column] ?? ""}
        aria-label={`${name} at least`} onInput={(event) => set(event.currentTarget.value)} />
    </label>
  );
}

const head_of = (row: FinderRow): Component => ({ kind: "head", layer: row.layer, index: row.head_index });

function Grid({ rows }: { rows: readonly FinderRow[] }): JSX.Element {
  const { store, actions, state: { parts: { finder_sort } } } = use_page();
  const selection = store.selection.value;
  const active = useMemo(() => rows.findIndex((row) => same_component(head_of(row), selection)), [rows, selection]);
  return (
    <RowGrid id={GRID} label="Heads" n_rows={rows.length} n_columns={COLUMNS.length} active={active} selection={selection}
      header={<GridHeader columns={COLUMNS} sort={finder_sort.value} on_sort={(next) => (finder_sort.value = next)} />}
      on_choose={(index) => actions.select(head_of(rows[index]!))}
      row={(index, top) => <Row key={rows[index]!.id} row={rows[index]!} index={index} top={top} />} />
  );
}

function Row({ row, index, top }: { row: FinderRow; index: number; top: number }): JSX.Element {
  const { store, actions } = use_page();
  const is_selected = useComputed(() => same_component(store.selection.value, head_of(row))).value;
  return (
    <GridRow id={GRID} index={index} top={top} is_selected={is_selected} on_choose={() => actions.select(head_of(row))}>
      <div role="gridcell" class="id">{row.id}</div>
      {SCORES.map(({ name }) => (
        <div role="gridcell" key={name} class="number score-cell" data-score={name}>
          <i aria-hidden="true" style={{ width: `${Math.round(60 * Math.min(1, Math.abs(row[name])))}%` }} />
          <span>{number_text(row[name], 2)}</span>
        </div>
      ))}
      <div role="gridcell" class="number">{number_text(row.norm)}</div>
      <div role="gridcell" class="number" data-sign={row.direct === null ? undefined : Math.sign(row.direct)}>
        {signed_text(row.direct)}
      </div>
    </GridRow>
  );
}
