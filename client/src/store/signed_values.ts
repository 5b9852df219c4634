// Signed numbers of components, for the diverging scale: differences between two runs, measured effects.
import type { Component, Metric } from "../protocol/generated";
import { expand_int8 } from "./companding";
import type { Shape } from "./query";
import type { SignedValues } from "./types";

/** Nothing is known of any component: what is drawn where an answer is still to come, or is of another token. */
export function no_values(of: SignedValues["of"], words: Pick<SignedValues, "title" | "unit" | "note">): SignedValues {
  return { of, ...words, heads: null, attn: null, mlps: null, neurons: null };
}

/** Of what contributions are measured in: logits of a target against another token, or against the mean. */
export function pair_unit({ target_text, distractor_text }: Pick<Metric, "target_text" | "distractor_text">): string {
  const against = distractor_text === null ? "the mean" : `“${distractor_text.trim()}”`;
  return `logits, “${target_text.trim()}” − ${against}`;
}

/** The number of `component`; null where none is known. */
export function signed_of(values: SignedValues, { kind, layer, index }: Component, shape: Shape): number | null {
  if (kind === "neuron") return neuron_of(values, layer * shape.d_mlp + index);
  const held = { head: values.heads, attn: values.attn, mlp: values.mlps }[kind];
  const value = held?.[kind === "head" ? layer * shape.n_heads + index : layer];
  return value === undefined || Number.isNaN(value) ? null : value;
}

function neuron_of({ neurons }: SignedValues, cell: number): number | null {
  if (!neurons) return null;
  if ("scales" in neurons) {
    const layer = Math.floor((cell * neurons.scales.length) / neurons.values.length);
    return expand_int8(neurons.values[cell] ?? 0, neurons.scales[layer] ?? Number.NaN);
  }
  const at = neurons.at ? neurons.at.indexOf(cell) : cell;
  const value = at < 0 ? undefined : neurons.values[at];
  return value === undefined || Number.isNaN(value) ? null : value;
}
