// Walking the lens grid with the arrow keys.
import type { LensCell } from "./lens_state";

/** Where a key leads from `cell`, rows being layers with the last on top; null for other keys. */
export function next_cell(cell: LensCell, key: string, n_layers: number, n_positions: number): LensCell | null {
  const by: Record<string, [number, number]> = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [0, 8], PageDown: [0, -8],
    Home: [-n_positions, 0], End: [n_positions, 0],
  };
  const step = Object.hasOwn(by, key) ? by[key] : undefined;
  if (!step) return null;
  const within = (value: number, n: number): number => Math.min(Math.max(0, n - 1), Math.max(0, value));
  return { pos: within(cell.pos + step[0], n_positions), layer: within(cell.layer + step[1], n_layers) };
}
