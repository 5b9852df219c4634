// Walking the lens grid with the arrow keys.
import type { LayerRange } from "../../store/layer_range";
import type { LensCell } from "./lens_state";

/** Where a key leads from `cell`, rows being the shown layers with the last on top; null for other keys. */
export function next_cell(cell: LensCell, key: string, layers: LayerRange, n_positions: number): LensCell | null {
  const by: Record<string, [number, number]> = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [0, 8], PageDown: [0, -8],
    Home: [-n_positions, 0], End: [n_positions, 0],
  };
  const step = Object.hasOwn(by, key) ? by[key] : undefined;
  if (!step) return null;
  const within = (value: number, least: number, most: number): number => Math.min(Math.max(least, most), Math.max(least, value));
  return {
    pos: within(cell.pos + step[0], 0, n_positions - 1),
    layer: within(cell.layer + step[1], layers.first_layer, layers.last_layer),
  };
}
