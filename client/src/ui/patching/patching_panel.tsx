// Two prompts side by side: what of this run, put into the run of the other prompt, brings the answer back.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { PatchingAnswer } from "../../protocol/questions";
import { same_component } from "../../store/types";
import { number_text, signed_text, token_quote } from "../format";
import { use_page, type Page } from "../page";
import { use_missing } from "../parts/asking";
import type { Shown } from "../shown_step";
import { ComparisonPanel } from "./comparison_panel";
import { PatchGrid, type Pointed } from "./patch_grid";
import {
  GROUPS, cell_name, component_of, maps_of, pos_of, short_name, strongest, value_at, type MapCell, type PatchMap, type StrongRow,
} from "./patch_maps";
import { PatchingForm } from "./patching_form";
import type { MapGroup } from "./patching_state";

/** Of each map. */
const TABLE_ROWS = 12;

export function PatchingPanel({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const { state: { patching: { looks_at } } } = use_page();
  const [missing, no_comparison] = [use_missing("patching"), use_missing("comparison")];
  if (missing && no_comparison) return <p class="muted pad">No patching: {missing}</p>;
  const { answer, error, progress } = store.analysis.patching.slot.value;
  const other_run = store.analysis.comparison.other_run.value;
  const is_comparison = looks_at.value === "comparison" && other_run !== null;
  return (
    <div class="patching" tabIndex={0} role="region" aria-label="Two prompts" aria-busy={progress !== null}>
      <PatchingForm shown={shown} />
      {(answer || progress) && other_run && <LooksAt />}
      {is_comparison ? <ComparisonPanel shown={shown} /> : <Patching answer={answer} error={error} />}
    </div>
  );
}

/** Both were asked: which is looked at. */
function LooksAt(): JSX.Element {
  const { looks_at } = use_page().state.patching;
  return (
    <div class="segmented patching-looks" role="group" aria-label="What to look at">
      <button type="button" aria-pressed={looks_at.value === "patching"} onClick={() => (looks_at.value = "patching")}>Patching</button>
      <button type="button" aria-pressed={looks_at.value === "comparison"} onClick={() => (looks_at.value = "comparison")}>Side by side</button>
    </div>
  );
}

function Patching({ answer, error }: { answer: PatchingAnswer | null; error: string | null }): JSX.Element {
  return (
    <>
      {error && <p class="patching-words" role="alert">{error}</p>}
      {answer ? <Answered answer={answer} /> : !error && (
        <p class="muted patching-words">
          Write the prompt again with one thing changed, so that the answer changes, in as many tokens. What this run
          computes is then put into the other prompt’s run, one place at a time: where the answer comes back, that
          place carries what made the difference. Or compare both runs side by side: every channel at the shown
          token, of prompts of any length. Nothing of the run itself changes.
        </p>
      )}
    </>
  );
}

function Answered({ answer }: { answer: PatchingAnswer }): JSX.Element {
  const page = use_page();
  const { group } = page.state.patching;
  const pointed = useSignal<Pointed | null>(null);
  const maps = useMemo(() => maps_of(answer, group.value), [answer, group.value]);
  const { metric } = answer;
  const against = metric.distractor_text === null ? "the mean" : token_quote(metric.distractor_text);
  const pick = (at: Pointed): void => choose(page, answer, at);
  return (
    <>
      <div class="patching-words" role="status">
        <p>
          logit({token_quote(metric.target_text)}) − logit({against}): <b id="clean-value">{signed_text(metric.value)}</b> in
          this run (clean), <b id="corrupted-value">{signed_text(answer.corrupted_value)}</b> in the other prompt’s (corrupted);{" "}
          {answer.n_patches} patches in {number_text(answer.secs)} s.{metric.notice && ` ${metric.notice}`}
        </p>
        <p class="muted">
          <label>
            <span class="visually-hidden">Maps</span>
            <select value={group.value} onChange={(event) => (group.value = event.currentTarget.value as MapGroup)}>
              {GROUPS.map(({ group: own, label }) => <option key={own} value={own}>{label}</option>)}
            </select>
          </label>{" "}
          {GROUPS.find(({ group: own }) => own === group.value)?.says}
        </p>
      </div>
      <div class="patching-body">
        <div class="patching-maps">
          <div class="patching-row">
            {maps.map((map) => (
              <PatchGrid key={map.title} answer={answer} map={map} pointed={pointed} on_pick={pick}
                selected={selected_cell(page, map)} />
            ))}
          </div>
          <Reading answer={answer} pointed={pointed.value} maps={maps} />
        </div>
        <StrongTable answer={answer} rows={maps.flatMap((map) => strongest(map, TABLE_ROWS))} on_pick={pick} />
      </div>
    </>
  );
}

/** A click selects the component, and shows the token. */
function choose(page: Page, answer: PatchingAnswer, { map, cell }: Pointed): void {
  const component = component_of(map, cell);
  page.actions.select_pos(pos_of(map, cell, answer));
  if (component) page.actions.select(component);
  page.state.announcement.value = `${cell_name(map, cell, answer)}: ${signed_text(value_at(map, cell))}`;
}

/** The cell of what is selected, at the shown token. */
function selected_cell({ store }: Page, map: PatchMap): MapCell | null {
  const selection = store.selection.value;
  const [n_rows = 0, n_columns = 0] = map.tensor.shape;
  const pos = store.current_pos.value;
  if (!selection) return null;
  const row = map.kind === "stream" && selection.kind === "mlp" ? selection.layer + 1 : selection.layer;
  const column = map.columns === "heads" ? selection.index : pos;
  if (row >= n_rows || column < 0 || column >= n_columns) return null;
  return same_component(component_of(map, { row, column }), selection) ? { row, column } : null;
}

function Reading({ answer, pointed, maps }: {
  answer: PatchingAnswer; pointed: Pointed | null; maps: readonly PatchMap[];
}): JSX.Element {
  const scales = [...new Set(maps.map(({ scale }) => number_text(scale)))].map((scale) => `±${scale}`).join(" and ");
  return (
    <>
      <p class="muted patching-legend"><i class="heat-ramp" aria-hidden="true" /> Blue is −, orange +; strongest colours at {scales}.</p>
      <p class="patching-reading">
        {pointed
          ? <><b>{cell_name(pointed.map, pointed.cell, answer)}</b> {signed_text(value_at(pointed.map, pointed.cell))} {pointed.map.unit}</>
          : <span class="muted">Point at a cell for its number; a click selects it and shows its token.</span>}
      </p>
    </>
  );
}

function StrongTable({ answer, rows, on_pick }: {
  answer: PatchingAnswer; rows: readonly StrongRow[]; on_pick: (pointed: Pointed) => void;
}): JSX.Element {
  return (
    <table class="patching-table">
      <caption class="visually-hidden">The strongest places of each map, strongest first</caption>
      <thead><tr><th scope="col">Place</th><th scope="col">Map</th><th scope="col">Value</th></tr></thead>
      <tbody>
        {rows.map(({ map, cell, value }) => (
          <tr key={`${map.title} ${cell.row} ${cell.column}`}>
            <th scope="row">
              <button type="button" class="link" onClick={() => on_pick({ map, cell })}>{short_name(map, cell, answer)}</button>
            </th>
            <td class="muted">{map.title}</td>
            <td class="number" data-sign={Math.sign(value)}>{signed_text(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
