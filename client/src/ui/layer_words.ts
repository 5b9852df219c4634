import type { LayerRange } from "../store/layer_range";

export function range_text({ first_layer, last_layer }: LayerRange): string {
  return first_layer === last_layer ? `${first_layer}` : `${first_layer} – ${last_layer}`;
}
