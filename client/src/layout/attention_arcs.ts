// Which tokens a head reads at a step, and the curve of an arc back to them.
import { weight_at } from "../store/query";
import type { StepRecord } from "../store/types";
import type { Vec3 } from "./framing";

export const MAX_ARCS = 48;
/** Weights below this are not drawn: one step of the wire's 1/255 is noise. */
const MIN_WEIGHT = 0.012;

export interface ArcTarget {
  key_pos: number;
  /** Share of the head's attention, 0..1; below 0 in a difference: the other run looks there more. */
  weight: number;
}

/** The strongest keys of one head's row at a step, strongest first; at most `limit`. */
export function strongest_keys(step: StepRecord, layer: number, head_index: number, limit: number = MAX_ARCS): ArcTarget[] {
  const attention = step.tensors.attention;
  const [n_layers, n_heads, n_keys] = attention?.shape ?? [];
  if (!attention || !n_layers || !n_heads || !n_keys || layer >= n_layers || head_index >= n_heads) return [];
  const keys = step.tensors.attention_keys?.values;
  const from = (layer * n_heads + head_index) * n_keys;
  const found: ArcTarget[] = [];
  for (let i = 0; i < n_keys; i++) {
    const weight = weight_at(attention, from + i);
    if (Math.abs(weight) < MIN_WEIGHT) continue;
    const key_pos = keys ? keys[from + i]! : i;
    if (key_pos <= step.pos) found.push({ key_pos, weight });
  }
  found.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight) || b.key_pos - a.key_pos);
  return found.slice(0, limit);
}

/** Control points of the cubic from a head back to a token: it leaves upward and comes down on the token. */
export function arc_controls(head: Vec3, token: Vec3): readonly [Vec3, Vec3, Vec3, Vec3] {
  const [dx, dz] = [token[0] - head[0], token[2] - head[2]];
  const lift = 0.5 + 0.085 * Math.hypot(dx, dz);
  const rise = head[1] - token[1];
  const at = (share: number, y: number): Vec3 => [head[0] + share * dx, y, head[2] + share * dz];
  return [head, at(0.26, head[1] + lift), at(0.74, token[1] + 0.8 * rise + 0.6 * lift), token];
}
