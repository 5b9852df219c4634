// The logit lens: what the model would say if it stopped after each layer, for the shown token in numbers and
// for every token of the run as a grid.
import { useSignal, type Signal } from "@preact/signals";
import type { JSX, RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ModelInfo } from "../protocol/generated";
import type { StepRecord } from "../store/types";
import { number_text, percent_text, token_label, token_quote } from "./format";
import { use_page } from "./page";
import { LENS_COLOURS, lens_at, lens_tint, type LensColour } from "./parts/lens_colour";
import { use_virtual_columns } from "./parts/virtual_columns";
import type { Shown } from "./shown_step";

const CELL_PX = 84;
/** Width of the columns that stay: see `.lens-table` for the width of each. */
const NUMBERS_PX = 412;

interface Cell {
  pos: number;
  layer: number;
}

export function LensTable({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const place = useRef<HTMLDivElement>(null);
  const hovered = useSignal<Cell | null>(null);
  const info = store.model_info.value;
  const missing = info?.capabilities.missing.find((item) => item.channel === "logit_lens");
  if (missing) return <p class="muted pad">This model has no logit lens: {missing.reason}</p>;
  return (
    <div class="lens-view">
      <LensTools shown={shown} hovered={hovered} />
      <div class="lens-place" ref={place} tabIndex={0} role="region" aria-label="Logit lens by layer and token">
        {info && <LensPending shown={shown} />}
        {info && <LensGrid info={info} shown={shown} place={place} hovered={hovered} />}
      </div>
    </div>
  );
}

/** What the colour means, and the cell that is pointed at in numbers. */
function LensTools({ shown, hovered }: { shown: Shown; hovered: Signal<Cell | null> }): JSX.Element {
  const { store, state } = use_page();
  const { lens_colour } = state.parts;
  const cell = hovered.value;
  const step = cell ? store.history.get(cell.pos) : shown.step.value.step;
  const values = cell && lens_at(step, cell.layer);
  return (
    <div class="table-tools">
      <label class="lens-choice">
        <span>Colour by</span>
        <select value={lens_colour.value}
          onChange={(event) => (lens_colour.value = event.currentTarget.value as LensColour)}>
          {LENS_COLOURS.map(({ colour, label }) => <option key={colour} value={colour}>{label}</option>)}
        </select>
      </label>
      <span class="muted lens-reading">
        {cell && values
          ? `After layer ${cell.layer} at ${cell.pos} ${token_quote(step?.text ?? "")}: ${token_quote(values.text)} `
            + `${percent_text(values.prob)}, entropy ${number_text(values.entropy)} nat; chosen `
            + `${step?.chosen_text === null || step === undefined ? "–" : token_quote(step.chosen_text)} ranks ${number_text(values.rank, 6)}`
          : `${LENS_COLOURS.find(({ colour }) => colour === lens_colour.value)?.says}. Underlined: the chosen token is on top.`}
      </span>
    </div>
  );
}

/** Prompt tokens come without their lens, which is computed in idle time: said, rather than shown as dashes. */
function LensPending({ shown }: { shown: Shown }): JSX.Element | null {
  const { store } = use_page();
  const { pos, step } = shown.step.value;
  if (!step || step.tensors.lens_prob) return null;
  const is_prompt = pos < (store.run.value?.n_prompt_tokens ?? 0);
  return (
    <p class="muted lens-pending" role="status">
      {is_prompt ? "The lens of a prompt token is computed while the run rests: paused or ended. None has come for this one yet."
        : "No lens was captured at this token."}
    </p>
  );
}

interface GridProps {
  info: ModelInfo;
  shown: Shown;
  place: RefObject<HTMLDivElement | null>;
  hovered: Signal<Cell | null>;
}

function LensGrid({ info, shown, place, hovered }: GridProps): JSX.Element {
  const { store } = use_page();
  const { pos, step } = shown.step.value;
  void shown.version.value; // other columns change without the shown one
  const n_columns = store.history.newest_pos + 1;
  const view = use_virtual_columns(place, n_columns, CELL_PX, NUMBERS_PX);
  useEffect(() => {
    if (pos >= 0) view.reveal(pos);
  }, [pos]);
  const layers = Array.from({ length: info.n_layers }, (_, i) => info.n_layers - 1 - i);
  if (!step) return <p class="muted pad">Run a prompt: each layer’s guess appears here.</p>;
  const columns = Array.from({ length: view.n_visible }, (_, i) => view.first + i)
    .map((at) => ({ at, step: store.history.get(at) }));
  const before = view.first * CELL_PX;
  const after = (n_columns - view.first - view.n_visible) * CELL_PX;
  return (
    <table class="lens-table" style={{ width: `${NUMBERS_PX + n_columns * CELL_PX}px` }}
      onMouseLeave={() => (hovered.value = null)}>
      <LensHead columns={columns} pos={pos} before={before} after={after} />
      <tbody>
        {layers.map((layer) => (
          <tr key={layer}>
            <LayerName layer={layer} />
            <LensNumbers layer={layer} step={step} />
            <Gap px={before} />
            {columns.map(({ at, step: column }) => (
              <LensCell key={at} cell={{ pos: at, layer }} step={column} is_shown={at === pos} hovered={hovered}
                d_vocab={info.d_vocab} />
            ))}
            <Gap px={after} />
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Room of the columns that are not drawn. */
function Gap({ px }: { px: number }): JSX.Element {
  return <td class="lens-gap" aria-hidden="true" style={{ width: `${px}px`, minWidth: `${px}px` }} />;
}

interface HeadProps {
  columns: { at: number; step: StepRecord | undefined }[];
  pos: number;
  before: number;
  after: number;
}

function LensHead({ columns, pos, before, after }: HeadProps): JSX.Element {
  const { actions } = use_page();
  return (
    <thead>
      <tr>
        <th scope="col">Layer</th>
        <th scope="col" class="left">Top token</th>
        <th scope="col">Probability</th>
        <th scope="col" title="1: the layer's top token is the one in fact chosen">Rank of chosen</th>
        <th scope="col">Entropy</th>
        <Gap px={before} />
        {columns.map(({ at, step }) => (
          <th scope="col" key={at} class="column" aria-current={at === pos || undefined}>
            <button type="button" title={`Show position ${at}`} onClick={() => actions.select_pos(at)}>
              {token_label(step?.text ?? "…")}
            </button>
          </th>
        ))}
        <Gap px={after} />
      </tr>
    </thead>
  );
}

/** The stream after a layer is what its MLP leaves behind: that is what a click selects. */
function LayerName({ layer }: { layer: number }): JSX.Element {
  const { actions } = use_page();
  return (
    <th scope="row">
      <button type="button" class="layer-name" title={`Select L${layer}.mlp, which writes last in this layer`}
        onClick={() => actions.select({ kind: "mlp", layer, index: 0 })}>L{layer}</button>
    </th>
  );
}

function LensNumbers({ layer, step }: { layer: number; step: StepRecord }): JSX.Element {
  const values = lens_at(step, layer);
  return (
    <>
      <td class="left token">{values ? token_label(values.text) : "–"}</td>
      <td class="number">{percent_text(values?.prob)}</td>
      <td class="number">{values?.rank ?? "–"}</td>
      <td class="number">{number_text(values?.entropy)}</td>
    </>
  );
}

interface CellProps {
  cell: Cell;
  step: StepRecord | undefined;
  is_shown: boolean;
  hovered: Signal<Cell | null>;
  d_vocab: number;
}

/** Keys reach the same by the token's and the layer's buttons. */
function LensCell({ cell, step, is_shown, hovered, d_vocab }: CellProps): JSX.Element {
  const { actions, state } = use_page();
  const values = lens_at(step, cell.layer);
  const tint = values ? lens_tint(values, state.parts.lens_colour.value, d_vocab) : 0;
  const choose = (): void => {
    actions.select_pos(cell.pos);
    actions.select({ kind: "mlp", layer: cell.layer, index: 0 });
  };
  return (
    <td class="cell" data-shown={is_shown || undefined} data-chosen={values?.rank === 1 || undefined}
      data-none={values ? undefined : true} style={{ "--tint": `${Math.round(tint * 70)}%` }}
      onMouseEnter={() => (hovered.value = cell)} onClick={choose}>
      {values ? token_label(values.text) : <span title="No lens of this token has come">·</span>}
    </td>
  );
}
