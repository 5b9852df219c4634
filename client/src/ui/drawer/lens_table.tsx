// The logit lens: what the model would say if it stopped after each layer, for the shown token in numbers and
// for every token of the run as a grid; and the other views of what lies at a token.
import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { missing_channel } from "../../store/capabilities";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { number_text, percent_text, token_quote } from "../format";
import { CellCard } from "../lens/cell_card";
import { EntropyMap } from "../lens/entropy_map";
import { HeadLens } from "../lens/head_lens";
import { LensGrid } from "../lens/lens_grid";
import { NoLens } from "../lens/lens_place";
import type { LensCell } from "../lens/lens_state";
import { StreamPanel } from "../lens/stream_panel";
import { ViewSwitch } from "../lens/view_switch";
import { use_page } from "../page";
import { LENS_COLOURS, lens_at, type LensColour } from "../parts/lens_colour";
import type { Shown } from "../shown_step";

export function LensTable({ shown }: { shown: Shown }): JSX.Element {
  const view = use_page().state.lens.view.value;
  return (
    <div class="lens-view" data-view={view}>
      {view === "layers" && <LensLayers shown={shown} />}
      {view === "heads" && <HeadLens shown={shown} />}
      {view === "paths" && <StreamPanel shown={shown} />}
      {view === "entropy" && <EntropyMap shown={shown} />}
    </div>
  );
}

function LensLayers({ shown }: { shown: Shown }): JSX.Element {
  const { store, state } = use_page();
  const place = useRef<HTMLDivElement>(null);
  const hovered = useSignal<LensCell | null>(null);
  const info = store.model_info.value;
  const missing = missing_channel(store, "logit_lens");
  if (missing) return <NoLens why={`This model has no logit lens: ${missing}`} />;
  const { pos, step } = shown.step.value;
  const range = shown_layers(store);
  const is_listed = (layer: number | undefined): layer is number => layer !== undefined && is_layer_shown(range, layer);
  const looked_at = [hovered.value, state.lens.focused.value].find((cell) => is_listed(cell?.layer)) ?? null;
  const selected = store.selection.value?.layer;
  const default_layer = is_listed(selected) ? selected : (range?.last_layer ?? (info?.n_layers ?? 1) - 1);
  return (
    <>
      <LensTools shown={shown} hovered={hovered} />
      <div class="lens-split">
        <div class="lens-place" ref={place} tabIndex={0} role="region" aria-label="Logit lens by layer and token">
          {info && <LensPending shown={shown} />}
          {info && <LensGrid info={info} shown={shown} place={place} hovered={hovered} />}
        </div>
        {info && step && <CellCard cell={looked_at ?? { pos, layer: default_layer }} is_looked_at={looked_at !== null} />}
      </div>
    </>
  );
}

/** What the colour means, and the cell that is pointed at in numbers. */
function LensTools({ shown, hovered }: { shown: Shown; hovered: Signal<LensCell | null> }): JSX.Element {
  const { store, state } = use_page();
  const { lens_colour } = state.parts;
  const cell = hovered.value;
  const step = cell ? store.history.get(cell.pos) : shown.step.value.step;
  const values = cell && lens_at(step, cell.layer);
  return (
    <div class="table-tools">
      <ViewSwitch />
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
