// Questions about one step: a component's value, its contribution, an attention row, the lens.
import type { AppliedInterventions, Component, InterventionSpec, ModelInfo } from "../protocol/generated";
import { expand_int8 } from "./companding";
import { is_factor, spec_form } from "./interventions";
import { component_key } from "./store";
import { signed_of } from "./signed_values";
import type { HostTensor, RunView, StepRecord } from "./types";

export type Shape = Pick<ModelInfo, "n_layers" | "n_heads" | "d_mlp">;

/** Is this a component of the model? Integers in range only. */
export function has_component({ n_layers, n_heads, d_mlp }: Shape, { kind, layer, index }: Component): boolean {
  const fits = (value: number, size: number): boolean => Number.isInteger(value) && value >= 0 && value < size;
  return fits(layer, n_layers) && fits(index, { head: n_heads, neuron: d_mlp, attn: 1, mlp: 1 }[kind]);
}

/** What `component` did at `step`: a neuron's activation, else the norm of what was written; null if unknown. */
export function activation_of(step: StepRecord | undefined, component: Component, shape: Shape): number | null {
  const { kind, layer, index } = component;
  const tensors = step?.tensors;
  if (!tensors) return null;
  if (kind === "head") return tensors.heads?.values[layer * shape.n_heads + index] ?? null;
  if (kind === "attn") return tensors.attn_out?.values[layer] ?? null;
  if (kind === "mlp") return tensors.mlp_out?.values[layer] ?? null;
  const code = tensors.neurons?.values[layer * shape.d_mlp + index];
  if (tensors.neurons?.values instanceof Float32Array) return code ?? null; // a difference: not companded
  const scale = tensors.neurons_scale?.values[layer];
  return code === undefined || scale === undefined ? null : expand_int8(code, scale);
}

/**
 * `component`'s direct contribution to the metric, or the effect on it that was measured, logits; null if unknown
 * (only the strongest neurons are sent).
 */
export function direct_of(step: StepRecord | undefined, component: Component, shape: Shape): number | null {
  const { kind, layer, index } = component;
  const tensors = step?.tensors;
  if (!tensors) return null;
  if (step.signed?.of === "causal") return signed_of(step.signed, component, shape);
  if (kind === "mlp") return tensors.direct_mlps?.values[layer] ?? null;
  const heads = tensors.direct_heads?.values;
  if (kind === "head") return heads?.[layer * shape.n_heads + index] ?? null;
  if (kind === "attn") {
    if (!heads) return null;
    let sum = tensors.direct_bias?.values[layer] ?? 0;
    for (let h = 0; h < shape.n_heads; h++) sum += heads[layer * shape.n_heads + h] ?? 0;
    return sum;
  }
  const [layers, indices, values] = [
    tensors.direct_neuron_layer?.values, tensors.direct_neuron_index?.values, tensors.direct_neuron_value?.values,
  ];
  if (!layers || !indices || !values) return null;
  for (let k = 0; k < values.length; k++) if (layers[k] === layer && indices[k] === index) return values[k] ?? null;
  return null;
}

/** Whole attention blocks, float32 [n_layers]: their heads and output bias together, logits; null where unknown. */
export function attention_terms({ direct_heads, direct_bias }: StepRecord["tensors"]): Float32Array | null {
  const n_layers = direct_heads?.shape[0];
  if (!direct_heads || !n_layers) return null;
  const n_heads = direct_heads.values.length / n_layers;
  const sums = new Float32Array(n_layers);
  for (let i = 0; i < direct_heads.values.length; i++) sums[Math.floor(i / n_heads)]! += direct_heads.values[i]!;
  for (let layer = 0; direct_bias && layer < n_layers; layer++) sums[layer]! += direct_bias.values[layer] ?? 0;
  return sums;
}

/** An attention weight: in 1/255 as steps bring it, or as it is where a difference is shown. */
export function weight_at(attention: HostTensor, i: number): number {
  const value = attention.values[i] ?? 0;
  return attention.values instanceof Float32Array ? value : value / 255;
}

export interface AttendedKey {
  pos: number;
  weight: number;
}

/** A head's attention row; `rest` is the weight of keys that are not listed (long rows). */
export interface AttentionRow {
  keys: AttendedKey[];
  rest: number;
}

/** A head's attention row at `step`, as it came; null while it has not. */
export function attention_row(step: StepRecord | undefined, layer: number, head: number): AttentionRow | null {
  const weights = step?.tensors.attention;
  if (!weights) return null;
  const [, n_heads = 0, n_keys = 0] = weights.shape;
  const at = (layer * n_heads + head) * n_keys;
  if (head >= n_heads || at + n_keys > weights.values.length) return null;
  const positions = step.tensors.attention_keys?.values;
  const keys = Array.from({ length: n_keys }, (_, k) => ({
    pos: positions ? (positions[at + k] ?? 0) : k,
    weight: weight_at(weights, at + k),
  }));
  return { keys, rest: (step.tensors.attention_rest?.values[layer * n_heads + head] ?? 0) / 255 };
}

/** Call `visit` for every listed weight of a head's row: no objects, for drawing whole maps. */
export function each_weight(
  step: StepRecord | undefined, layer: number, head: number, visit: (key_pos: number, weight: number) => void,
): void {
  const weights = step?.tensors.attention;
  if (!weights) return;
  const [, n_heads = 0, n_keys = 0] = weights.shape;
  const at = (layer * n_heads + head) * n_keys;
  const positions = step.tensors.attention_keys?.values;
  for (let k = 0; k < n_keys; k++) visit(positions ? (positions[at + k] ?? 0) : k, weight_at(weights, at + k));
}

/** The layer from which on the chosen token is the lens's top token; n_layers where it never settles. */
export function settled_layer(step: StepRecord | undefined): number | null {
  const ranks = step?.tensors.lens_rank?.values;
  if (!ranks) return null;
  let layer = ranks.length;
  while (layer > 0 && ranks[layer - 1] === 0) layer -= 1;
  return layer;
}

/** The factor that the enabled interventions put on `component`; none when nothing touches it. */
export function factor_on(interventions: readonly InterventionSpec[], component: Component): number | null {
  const key = component_key(component);
  const factors = interventions
    .filter((spec) => spec.enabled && is_factor(spec) && spec.components.some((other) => component_key(other) === key))
    .map((spec) => (spec.operation === "zero" ? 0 : spec.amount));
  return factors.length ? factors.reduce((product, factor) => product * factor, 1) : null;
}

type Since = Pick<AppliedInterventions, "from_pos" | "revision" | "author">;

/** From which position `spec` holds in its present form, and by whom; null where the server has not said. */
export function effective_since(
  run: RunView | null, spec: InterventionSpec,
): Since | null {
  let since: Since | null = null;
  const log = [...(run?.intervention_log ?? [])].sort((a, b) => b.revision - a.revision);
  for (const entry of log) {
    const held = entry.interventions.find((other) => other.intervention_id === spec.intervention_id);
    if (!held || spec_form(held) !== spec_form(spec)) break;
    since = { from_pos: entry.from_pos, revision: entry.revision, author: entry.author };
    if (entry.mode === "recompute") break; // its from_pos covers all that came before it
  }
  return since;
}
