// The answer about what heads write, as rows and as a grid: a row a head, the last row the layers' MLPs.
import type { Component, TopToken } from "../../protocol/generated";
import type { HeadLensAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import type { HeadLensColour } from "./lens_state";

export interface HeadWrite {
  component: Component;
  /** Added to the target's logit, above the mean of all. */
  direct: number;
  /** Of the target among all tokens by what is added to them, 0 for the most. */
  rank: number;
  promoted: TopToken[];
}

export function component_at({ row, column }: { row: number; column: number }, n_heads: number): Component {
  return row < n_heads ? { kind: "head", layer: column, index: row } : { kind: "mlp", layer: column, index: 0 };
}

/** Every head and MLP, the strongest contribution to the target first. */
export function writes_of(answer: HeadLensAnswer): HeadWrite[] {
  const texts = new Map(answer.words.map(({ token_id, text }) => [token_id, text]));
  const [n_layers = 0, n_heads = 0, n_tokens = 0] = answer.head_token_id.shape;
  const promoted = (ids: HostTensor, values: HostTensor, row: number): TopToken[] =>
    Array.from({ length: n_tokens }, (_, i) => {
      const token_id = ids.values[row * n_tokens + i]!;
      return { token_id, text: texts.get(token_id) ?? "", prob: values.values[row * n_tokens + i]! };
    });
  const writes: HeadWrite[] = [];
  for (let layer = 0; layer < n_layers; layer++) {
    for (let index = 0; index < n_heads; index++) {
      const at = layer * n_heads + index;
      writes.push({
        component: { kind: "head", layer, index }, direct: answer.direct_heads.values[at]!,
        rank: answer.head_rank.values[at]!, promoted: promoted(answer.head_token_id, answer.head_value, at),
      });
    }
    writes.push({
      component: { kind: "mlp", layer, index: 0 }, direct: answer.direct_mlps.values[layer]!,
      rank: answer.mlp_rank.values[layer]!, promoted: promoted(answer.mlp_token_id, answer.mlp_value, layer),
    });
  }
  return writes.sort((a, b) => Math.abs(b.direct) - Math.abs(a.direct));
}

/** 1 for the token that is promoted most, 0 for the last of all. */
export function rank_closeness(rank: number, d_vocab: number): number {
  return 1 - Math.log(rank + 1) / Math.log(Math.max(2, d_vocab));
}

/** [n_heads + 1, n_layers], in the unit of `colour`. */
export function grid_values(answer: HeadLensAnswer, colour: HeadLensColour, d_vocab: number): Float32Array {
  const [n_layers = 0, n_heads = 0] = answer.direct_heads.shape;
  const [heads, mlps] = colour === "direct" ? [answer.direct_heads, answer.direct_mlps] : [answer.head_rank, answer.mlp_rank];
  const value = (raw: number): number => (colour === "direct" ? raw : Math.max(0, rank_closeness(raw, d_vocab)));
  const grid = new Float32Array((n_heads + 1) * n_layers);
  for (let layer = 0; layer < n_layers; layer++) {
    for (let head = 0; head < n_heads; head++) grid[head * n_layers + layer] = value(heads.values[layer * n_heads + head]!);
    grid[n_heads * n_layers + layer] = value(mlps.values[layer]!);
  }
  return grid;
}

const total = (values: ArrayLike<number>): number => Array.from(values).reduce((sum, value) => sum + value, 0);

/** What heads, MLPs and biases add to the target's logit, and all of it with the embedding. */
export function sums_of(answer: HeadLensAnswer): { heads: number; mlps: number; biases: number; all: number } {
  const [heads, mlps] = [total(answer.direct_heads.values), total(answer.direct_mlps.values)];
  const biases = total(answer.direct_bias.values) + answer.final_bias;
  return { heads, mlps, biases, all: heads + mlps + biases + answer.embed };
}
