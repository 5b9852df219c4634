// An earlier token's sheet shows its loudest cells only: which ones, and where they lie.
import type { Blocks } from "./blocks";
import { panel_left } from "./blocks";

const WANTED_NEURONS = 420;
const WANTED_HEADS = 110;
/** Values looked at per layer to find the threshold; more would say little more. */
const SAMPLE = 2048;
/** Quieter cells are not worth a point, however quiet the layer. */
const LEAST_CODE = 38;

/** Points of one token's sheet: how many a layer gives at most. */
export interface PointPlan {
  neurons_per_layer: number;
  heads_per_layer: number;
  points: number;
}

export function plan_points(blocks: Blocks): PointPlan {
  const share = (wanted: number, most: number): number => Math.min(most, Math.max(2, Math.round(wanted / blocks.n_layers)));
  const neurons_per_layer = Math.min(blocks.d_mlp, share(WANTED_NEURONS, 60));
  const heads_per_layer = Math.min(blocks.n_heads, share(WANTED_HEADS, 12));
  return { neurons_per_layer, heads_per_layer, points: blocks.n_layers * (neurons_per_layer + heads_per_layer) };
}

/**
 * Indices into `codes[from .. to)` of up to `limit` cells, the loudest ones. Which of equally loud ones are left
 * out is arbitrary but always the same.
 */
export function loudest(codes: Int8Array, from: number, to: number, limit: number): number[] {
  const counts = new Uint32Array(129);
  const stride = Math.max(1, Math.floor((to - from) / SAMPLE));
  for (let i = from; i < to; i += stride) counts[Math.abs(codes[i]!)]! += stride;
  let threshold = 127;
  for (let found = 0; threshold > LEAST_CODE; threshold--) {
    found += counts[threshold]!;
    if (found >= limit) break;
  }
  const picked: number[] = [];
  for (let i = from; i < to; i++) {
    const code = codes[i]!;
    if ((code >= threshold || code <= -threshold) && code !== -128) picked.push(i);
  }
  if (picked.length > limit) picked.sort((a, b) => Math.abs(codes[b]!) - Math.abs(codes[a]!) || a - b).length = limit;
  return picked;
}

/** Four numbers a point: x, y, code, and the side of its cell (negative: a disc). Unused points have side 0. */
export const POINT_FLOATS = 4;

/** Write the points of one layer; `block_codes` is a layer's heads at `layer * (n_heads + 2)`. */
export function write_layer_points(
  target: Float32Array,
  offset: number,
  layer: number,
  codes: Int8Array | null,
  block_codes: Int8Array,
  blocks: Blocks,
  plan: PointPlan,
): void {
  const left = panel_left(blocks, layer);
  const per_layer = plan.neurons_per_layer + plan.heads_per_layer;
  let at = offset + layer * per_layer * POINT_FLOATS;
  target.fill(0, at, at + per_layer * POINT_FLOATS);
  const put = (x: number, y: number, code: number, side: number): void => {
    target[at++] = x;
    target[at++] = y;
    target[at++] = code / 127;
    target[at++] = side;
  };
  const base = layer * blocks.d_mlp;
  for (const i of codes ? loudest(codes, base, base + blocks.d_mlp, plan.neurons_per_layer) : []) {
    const n = i - base;
    const x = left + ((n % blocks.columns) + 0.5) * blocks.cell;
    put(x, blocks.panel_top - (Math.floor(n / blocks.columns) + 0.5) * blocks.cell, codes![i]!, blocks.cell);
  }
  const heads = layer * (blocks.n_heads + 2);
  for (const i of loudest(block_codes, heads, heads + blocks.n_heads, plan.heads_per_layer)) {
    const n = i - heads;
    const x = left + blocks.heads_left + ((n % blocks.head_columns) + 0.5) * blocks.head_pitch;
    const y = blocks.heads_top - (Math.floor(n / blocks.head_columns) + 0.5) * blocks.head_pitch;
    put(x, y, block_codes[i]!, -blocks.head_pitch);
  }
}
