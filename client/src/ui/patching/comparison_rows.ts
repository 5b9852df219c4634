// Two runs side by side as rows: layer by layer, and the components that differ most.
import type { Component } from "../../protocol/generated";
import type { ComparisonAnswer } from "../../protocol/questions";
import type { LayerRange } from "../../store/layer_range";
import type { Shape } from "../../store/query";
import type { StepRecord } from "../../store/types";
import { token_quote } from "../format";

export interface LayerRow {
  layer: number;
  /** This run's minus the other's: norms of the stream behind the layer, and of what attention and MLP write. */
  stream: number | null;
  attn: number | null;
  mlp: number | null;
  /** Top tokens of the lens; none where they have not come. */
  own_lens: string | null;
  other_lens: string | null;
  /** Of the target's log-probability after the layer. */
  logprob: number | null;
}

export function layer_rows(answer: ComparisonAnswer, step: StepRecord | undefined, n_layers: number): LayerRow[] {
  const { difference: d } = answer;
  return Array.from({ length: n_layers }, (_, layer) => ({
    layer,
    stream: d.residual?.values[layer + 1] ?? null,
    attn: d.attn_out?.values[layer] ?? null,
    mlp: d.mlp_out?.values[layer] ?? null,
    own_lens: step?.lens_texts?.[layer] ?? null,
    other_lens: answer.other_lens_texts?.[layer] ?? null,
    logprob: d.lens_logprob?.values[layer] ?? null,
  }));
}

export interface DifferingComponent {
  component: Component;
  /** This run's minus the other's. */
  difference: number;
}

/** The `n` heads, or neurons, whose values differ most, largest first; those that do not differ are none of them. */
export function most_different(
  answer: ComparisonAnswer, kind: "head" | "neuron", shape: Shape, n: number,
  range: LayerRange | null = null,
): DifferingComponent[] {
  const values = (kind === "head" ? answer.difference.heads : answer.difference.neurons)?.values;
  const width = kind === "head" ? shape.n_heads : shape.d_mlp;
  if (!values) return [];
  const best: number[] = [];
  let least = 0;
  const [from, to] = range ? [range.first_layer * width, (range.last_layer + 1) * width] : [0, values.length];
  for (let i = from; i < Math.min(to, values.length); i++) {
    const size = Math.abs(values[i]!);
    if (!(size > least)) continue;
    best.push(i);
    if (best.length < 2 * n) continue;
    best.sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!)).length = n;
    least = Math.abs(values[best[n - 1]!]!);
  }
  return best
    .sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!))
    .slice(0, n)
    .map((i) => ({ component: { kind, layer: Math.floor(i / width), index: i % width }, difference: values[i]! }));
}

/** What the other run is, in a few words. */
export function other_words(answer: ComparisonAnswer): string {
  const n = answer.differing.length;
  const tokens = n === 0 ? "the same tokens" : `${n} other token${n > 1 ? "s" : ""}`;
  return answer.without_interventions ? `${tokens}, without the interventions` : tokens;
}

/** From where on the two runs are not the same. */
export function same_words(answer: ComparisonAnswer): string {
  const { first_difference: first } = answer;
  if (first === null) return "Both runs compute the same everywhere.";
  return first === 0 ? "" : `Before position ${first} (${token_quote(answer.other_tokens[first] ?? "")} there) both compute the same.`;
}
