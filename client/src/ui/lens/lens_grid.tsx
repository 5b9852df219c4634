// The grid of the logit lens: the shown layers by tokens, each cell the layer's top token. Arrow keys walk from cell to cell.
import type { Signal } from "@preact/signals";
import type { JSX, RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ModelInfo } from "../../protocol/generated";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import type { StepRecord } from "../../store/types";
import { number_text, percent_text, token_label } from "../format";
import { use_page } from "../page";
import { lens_at, lens_tint } from "../parts/lens_colour";
import { use_virtual_columns } from "../parts/virtual_columns";
import type { Shown } from "../shown_step";
import { next_cell } from "./grid_keys";
import { same_cell, type LensCell } from "./lens_state";

const CELL_PX = 84;
/** Width of the columns that stay: see `.lens-table` for the width of each. */
const NUMBERS_PX = 412;

interface GridProps {
  info: ModelInfo;
  shown: Shown;
  place: RefObject<HTMLDivElement | null>;
  hovered: Signal<LensCell | null>;
}

export function LensGrid({ info, shown, place, hovered }: GridProps): JSX.Element {
  const { store, state } = use_page();
  const { focused } = state.lens;
  const { pos, step } = shown.step.value;
  const { first_layer, last_layer } = shown_layers(store) ?? { first_layer: 0, last_layer: info.n_layers - 1 };
  void shown.version.value; // other columns change without the shown one
  const is_walking = useRef(false);
  const n_columns = store.history.newest_pos + 1;
  const view = use_virtual_columns(place, n_columns, CELL_PX, NUMBERS_PX);
  useEffect(() => {
    if (pos >= 0) view.reveal(pos);
  }, [pos]);
  useEffect(() => {
    if (!is_walking.current || !focused.value) return;
    // The cell that the keys went to may be drawn only once its column has been scrolled to.
    const cell = place.current?.querySelector<HTMLElement>(`[data-cell="${focused.value.pos} ${focused.value.layer}"]`);
    if (!cell) return;
    is_walking.current = false;
    cell.focus();
  }, [focused.value, view.first, view.n_visible]);
  const walk = (event: KeyboardEvent): void => {
    const at = focused.peek();
    const next = at && next_cell(at, event.key, { first_layer, last_layer }, n_columns);
    if (!next) return;
    event.preventDefault(); // the page's own arrow keys walk along the text
    event.stopPropagation();
    is_walking.current = true;
    view.reveal(next.pos);
    focused.value = next;
  };
  const is_there = focused.value !== null && is_layer_shown({ first_layer, last_layer }, focused.value.layer);
  const entry = is_there ? focused.value! : { pos, layer: last_layer };
  const layers = Array.from({ length: last_layer - first_layer + 1 }, (_, i) => last_layer - i);
  if (!step) return <p class="muted pad">Run a prompt: each layer’s guess appears here.</p>;
  const columns = Array.from({ length: view.n_visible }, (_, i) => view.first + i)
    .map((at) => ({ at, step: store.history.get(at) }));
  const before = view.first * CELL_PX;
  const after = (n_columns - view.first - view.n_visible) * CELL_PX;
  return (
    <table class="lens-table" role="grid" aria-label="Top token of each layer and token" onKeyDown={walk}
      style={{ width: `${NUMBERS_PX + n_columns * CELL_PX}px` }}
      onMouseLeave={() => (hovered.value = null)} onFocusOut={(event) => {
        const table = event.currentTarget;
        if (!is_walking.current && !table.contains(event.relatedTarget as Node | null)) focused.value = null;
      }}>
      <LensHead columns={columns} pos={pos} before={before} after={after} />
      <tbody>
        {layers.map((layer) => (
          <tr key={layer}>
            <LayerName layer={layer} />
            <LensNumbers layer={layer} step={step} />
            <Gap px={before} />
            {columns.map(({ at, step: column }) => (
              <GridCell key={at} cell={{ pos: at, layer }} step={column} is_shown={at === pos} hovered={hovered}
                is_entry={same_cell(entry, { pos: at, layer })} d_vocab={info.d_vocab} />
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
  cell: LensCell;
  step: StepRecord | undefined;
  is_shown: boolean;
  is_entry: boolean;
  hovered: Signal<LensCell | null>;
  d_vocab: number;
}

/** One cell is in the order of Tab: the one that has the keys, or else the shown token's in the last layer. */
function GridCell({ cell, step, is_shown, is_entry, hovered, d_vocab }: CellProps): JSX.Element {
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
      data-cell={`${cell.pos} ${cell.layer}`} tabIndex={is_entry ? 0 : -1}
      onFocus={() => (state.lens.focused.value = cell)} onMouseEnter={() => (hovered.value = cell)} onClick={choose}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        choose();
      }}>
      {values ? token_label(values.text) : <span title="No lens of this token has come">·</span>}
    </td>
  );
}
