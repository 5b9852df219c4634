// The layers that the picture draws and the tables list: first and last, and back to all of them.
import type { JSX } from "preact";
import { fitting_range, shown_layers } from "../store/layer_range";
import { range_text } from "./layer_words";
import { use_page } from "./page";
import { NumberWritten } from "./written_field";

export function LayerRangeFields(): JSX.Element | null {
  const { store, state } = use_page();
  const n_layers = store.model_info.value?.n_layers ?? 0;
  if (n_layers < 2) return null;
  const range = shown_layers(store);
  const [first, last] = [range?.first_layer ?? 0, range?.last_layer ?? n_layers - 1];
  const show = (first_layer: number, last_layer: number): void => {
    store.layer_range.value = fitting_range({ first_layer, last_layer }, n_layers);
    const now = shown_layers(store);
    state.announcement.value = now ? `Layers ${range_text(now)} are shown` : "All layers are shown";
  };
  /** One bound takes the other along where it would pass it; what is no layer is put back. */
  const field = (label: string, value: number, take: (layer: number) => void): JSX.Element => (
    <NumberWritten min={0} max={n_layers - 1} step={1} value={value} aria-label={label} title={label}
      on_written={(text) => {
        const layer = text === "" ? -1 : Number(text);
        if (Number.isInteger(layer) && layer >= 0 && layer < n_layers) take(layer);
      }} />
  );
  return (
    <div class="layer-range" role="group" aria-label="Layers shown" data-on={range !== null || undefined}>
      <span aria-hidden="true">Layers</span>
      {field("First layer shown", first, (layer) => show(layer, Math.max(layer, last)))}
      <span aria-hidden="true">–</span>
      {field("Last layer shown", last, (layer) => show(Math.min(layer, first), layer))}
      <button type="button" class="button small" disabled={range === null} title="Show all layers"
        aria-label="Show all layers" onClick={() => show(0, n_layers - 1)}>All</button>
    </div>
  );
}
