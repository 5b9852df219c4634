// The layers that are looked at: all of them, or the ones between two bounds.
import { signal, untracked, type Signal } from "@preact/signals";
import type { ModelInfo } from "../protocol/generated";

/** Both bounds are in it. */
export interface LayerRange {
  readonly first_layer: number;
  readonly last_layer: number;
}

/** What has a range: the store. None set: all layers. */
export interface RangedStore {
  layer_range: Signal<LayerRange | null>;
  model_info: Signal<ModelInfo | null>;
}

export function create_layer_range(): Signal<LayerRange | null> {
  return signal<LayerRange | null>(null);
}

/** `range` where a model of `n_layers` has it and it leaves a layer out, else null: all layers. */
export function fitting_range(range: LayerRange | null, n_layers: number): LayerRange | null {
  if (!range) return null;
  const { first_layer, last_layer } = range;
  const is_whole = Number.isInteger(first_layer) && Number.isInteger(last_layer);
  const is_there = is_whole && first_layer >= 0 && first_layer <= last_layer && last_layer < n_layers;
  return is_there && last_layer - first_layer < n_layers - 1 ? range : null;
}

/** The range that this model is looked at in; null: all of its layers. */
export function shown_layers({ layer_range, model_info }: RangedStore): LayerRange | null {
  return fitting_range(layer_range.value, model_info.value?.n_layers ?? 0);
}

/** As `shown_layers`, for who does not want to hear of changes. */
export function peek_shown_layers(store: RangedStore): LayerRange | null {
  return untracked(() => shown_layers(store));
}

export function is_layer_shown(range: LayerRange | null, layer: number): boolean {
  return range === null || (layer >= range.first_layer && layer <= range.last_layer);
}

/** Of a stream's points, 0 before layer 0 and then one after each layer: what enters the shown layers, and what each leaves. */
export function is_stream_point_shown(range: LayerRange | null, point: number): boolean {
  return range === null || (point >= range.first_layer && point <= range.last_layer + 1);
}
