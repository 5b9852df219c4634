// Where everything of a model lies: ModelInfo -> rectangles in the plane of one token's sheet.
// x is depth (0 .. SHEET_WIDTH, one column a layer), y is up, z is time (time_axis.ts); world units.
import type { Component, ModelInfo } from "../protocol/generated";
import type { LayerRange } from "../store/layer_range";
import { has_component } from "../store/query";
import picture from "./picture.json";

/** Shared with the notebook's scene; shared_schema/picture.json says what each is. */
const {
  panel_share: PANEL_SHARE,
  wanted_panel_height: WANTED_PANEL_HEIGHT,
  max_heads_height: MAX_HEADS_HEIGHT,
  panel_bottom: PANEL_BOTTOM,
  tab_height: TAB_HEIGHT,
  tab_gap: TAB_GAP,
  heads_gap: HEADS_GAP,
  spine_overhang: SPINE_OVERHANG,
} = picture.layout;
export const SHEET_WIDTH = picture.layout.sheet_width;

export type ModelShape = Pick<ModelInfo, "n_layers" | "n_heads" | "d_mlp">;

export interface Rect {
  /** Left, bottom, width and height. */
  x: number;
  y: number;
  w: number;
  h: number;
}

/** Every length the shader, the picking and the labels share; built once per model. */
export interface Blocks {
  n_layers: number;
  n_heads: number;
  d_mlp: number;
  /** From one layer's left edge to the next one's. */
  layer_pitch: number;
  panel_width: number;
  /** Neurons: `columns` x `rows` square cells of side `cell`, index 0 at the top left, row by row. */
  columns: number;
  rows: number;
  cell: number;
  panel_bottom: number;
  panel_top: number;
  /** The strip above the panel that stands for the whole MLP, and the one above the heads for attention. */
  mlp_tab: { bottom: number; top: number };
  attn_tab: { bottom: number; top: number };
  /** Heads: `head_columns` x `head_rows` discs at `head_pitch`, index 0 at the top left, row by row. */
  head_columns: number;
  head_rows: number;
  head_pitch: number;
  heads_left: number;
  heads_bottom: number;
  heads_top: number;
  spine_y: number;
  spine_from_x: number;
  spine_to_x: number;
  top: number;
}

/** Number of columns near the one that gives a well-proportioned panel, favouring one that leaves no ragged row. */
export function neuron_columns(shape: ModelShape): number {
  if (shape.d_mlp < 1) return 1;
  const ideal = Math.sqrt((PANEL_SHARE * SHEET_WIDTH * shape.d_mlp) / (shape.n_layers * WANTED_PANEL_HEIGHT));
  let best = Math.max(1, Math.round(ideal));
  let best_cost = Infinity;
  for (let columns = Math.max(1, Math.floor(ideal * 0.75)); columns <= Math.ceil(ideal * 1.25); columns++) {
    const empty = Math.ceil(shape.d_mlp / columns) * columns - shape.d_mlp;
    const cost = Math.abs(Math.log(columns / ideal)) + (empty > 0 ? 0.3 : 0);
    if (cost < best_cost) [best, best_cost] = [columns, cost];
  }
  return Math.min(best, shape.d_mlp);
}

function head_grid(n_heads: number, panel_width: number): { columns: number; rows: number; pitch: number } {
  let best = { columns: 1, rows: n_heads, pitch: 0 };
  for (let columns = 1; columns <= n_heads; columns++) {
    const rows = Math.ceil(n_heads / columns);
    const pitch = Math.min(panel_width / columns, MAX_HEADS_HEIGHT / rows);
    // Largest discs first; of equals the one with fewer empty places.
    const empty = rows * columns - n_heads;
    const best_empty = best.rows * best.columns - n_heads;
    if (pitch > best.pitch * 1.001 || (pitch > best.pitch * 0.92 && empty < best_empty)) best = { columns, rows, pitch };
    if (pitch < best.pitch * 0.5) break;
  }
  return best;
}

/** Lay out one token's sheet. Throws RangeError for a model without layers. */
export function build_blocks(shape: ModelShape): Blocks {
  const { n_layers, n_heads, d_mlp } = shape;
  if (n_layers < 1) throw new RangeError(`a model needs at least one layer to be shown, got ${n_layers}`);
  const layer_pitch = SHEET_WIDTH / n_layers;
  const panel_width = layer_pitch * PANEL_SHARE;
  const columns = neuron_columns(shape);
  const rows = Math.ceil(d_mlp / columns);
  const cell = panel_width / columns;
  const panel_top = PANEL_BOTTOM + rows * cell;
  const mlp_tab = { bottom: panel_top + TAB_GAP, top: panel_top + TAB_GAP + TAB_HEIGHT };
  const heads_bottom = mlp_tab.top + HEADS_GAP;
  const square = Math.ceil(Math.sqrt(n_heads));
  const square_fits = square > 0 && Math.ceil(n_heads / square) * (panel_width / square) <= MAX_HEADS_HEIGHT;
  const grid =
    n_heads < 1
      ? { columns: 1, rows: 0, pitch: panel_width }
      : square_fits
        ? { columns: square, rows: Math.ceil(n_heads / square), pitch: panel_width / square }
        : head_grid(n_heads, panel_width);
  const heads_top = heads_bottom + grid.rows * grid.pitch;
  const attn_tab = { bottom: heads_top + TAB_GAP, top: heads_top + TAB_GAP + TAB_HEIGHT };
  return {
    n_layers,
    n_heads,
    d_mlp,
    layer_pitch,
    panel_width,
    columns,
    rows,
    cell,
    panel_bottom: PANEL_BOTTOM,
    panel_top,
    mlp_tab,
    attn_tab,
    head_columns: grid.columns,
    head_rows: grid.rows,
    head_pitch: grid.pitch,
    heads_left: (panel_width - grid.columns * grid.pitch) / 2,
    heads_bottom,
    heads_top,
    spine_y: 0,
    spine_from_x: -SPINE_OVERHANG,
    spine_to_x: SHEET_WIDTH + SPINE_OVERHANG,
    top: attn_tab.top,
  };
}

/** Left edge of a layer's panel. */
export function panel_left(blocks: Blocks, layer: number): number {
  return layer * blocks.layer_pitch + (blocks.layer_pitch - blocks.panel_width) / 2;
}

/** From and to where on x the shown layers lie, their gaps with them; without a range nothing is left out. */
export function shown_span(blocks: Blocks, range: LayerRange | null): readonly [number, number] {
  if (!range) return [-Infinity, Infinity];
  return [range.first_layer * blocks.layer_pitch, (range.last_layer + 1) * blocks.layer_pitch];
}

/** Middle of a layer's panel: where its node lies on the spine. */
export function layer_x(blocks: Blocks, layer: number): number {
  return (layer + 0.5) * blocks.layer_pitch;
}

/** The rectangle of a component in its sheet; null when the model has no such component. */
export function rect_of(blocks: Blocks, component: Component): Rect | null {
  if (!has_component(blocks, component)) return null;
  const left = panel_left(blocks, component.layer);
  switch (component.kind) {
    case "neuron": {
      const column = component.index % blocks.columns;
      const row = Math.floor(component.index / blocks.columns);
      const y = blocks.panel_top - (row + 1) * blocks.cell;
      return { x: left + column * blocks.cell, y, w: blocks.cell, h: blocks.cell };
    }
    case "head": {
      const pitch = blocks.head_pitch;
      const column = component.index % blocks.head_columns;
      const row = Math.floor(component.index / blocks.head_columns);
      const y = blocks.heads_top - (row + 1) * pitch;
      return { x: left + blocks.heads_left + column * pitch, y, w: pitch, h: pitch };
    }
    case "mlp":
      return { x: left, y: blocks.mlp_tab.bottom, w: blocks.panel_width, h: blocks.mlp_tab.top - blocks.mlp_tab.bottom };
    case "attn":
      return { x: left, y: blocks.attn_tab.bottom, w: blocks.panel_width, h: blocks.attn_tab.top - blocks.attn_tab.bottom };
  }
}

/** The whole block that an attn or mlp tab stands for: what is struck out when it is ablated. */
export function block_rect(blocks: Blocks, kind: "attn" | "mlp", layer: number): Rect {
  const x = panel_left(blocks, layer);
  const w = blocks.panel_width;
  return kind === "attn"
    ? { x, y: blocks.heads_bottom, w, h: blocks.attn_tab.top - blocks.heads_bottom }
    : { x, y: blocks.panel_bottom, w, h: blocks.mlp_tab.top - blocks.panel_bottom };
}

/** The component under a point of the sheet's plane; null in the gaps. Inverse of `rect_of`. */
export function component_at(blocks: Blocks, x: number, y: number): Component | null {
  const layer = Math.floor(x / blocks.layer_pitch);
  if (layer < 0 || layer >= blocks.n_layers) return null;
  const local = x - panel_left(blocks, layer);
  if (local < 0 || local >= blocks.panel_width) return null;
  if (y > blocks.panel_bottom && y <= blocks.panel_top) {
    const column = Math.min(blocks.columns - 1, Math.floor(local / blocks.cell));
    const row = Math.min(blocks.rows - 1, Math.floor((blocks.panel_top - y) / blocks.cell));
    const index = row * blocks.columns + column;
    return index < blocks.d_mlp ? { kind: "neuron", layer, index } : null;
  }
  if (y > blocks.heads_bottom && y <= blocks.heads_top) return head_at(blocks, layer, local - blocks.heads_left, y);
  if (y >= blocks.mlp_tab.bottom && y <= blocks.mlp_tab.top) return { kind: "mlp", layer, index: 0 };
  if (y >= blocks.attn_tab.bottom && y <= blocks.attn_tab.top) return { kind: "attn", layer, index: 0 };
  return null;
}

function head_at(blocks: Blocks, layer: number, local: number, y: number): Component | null {
  const column = Math.floor(local / blocks.head_pitch);
  const row = Math.min(blocks.head_rows - 1, Math.floor((blocks.heads_top - y) / blocks.head_pitch));
  if (column < 0 || column >= blocks.head_columns) return null;
  const index = row * blocks.head_columns + column;
  return index < blocks.n_heads ? { kind: "head", layer, index } : null;
}
