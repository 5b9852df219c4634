import { describe, expect, it } from "vitest";
import type { AttentionEntropyAnswer, HeadLensAnswer } from "../../protocol/questions";
import { looks_of } from "./entropy_rows";
import { next_cell } from "./grid_keys";
import { component_at, grid_values, rank_closeness, sums_of, writes_of } from "./head_lens_rows";

const floats = (shape: number[], ...values: number[]) => ({ shape, values: new Float32Array(values) });
const ints = (shape: number[], ...values: number[]) => ({ shape, values: new Int32Array(values) });

/** Two layers of two heads, one token each. */
const ANSWER: HeadLensAnswer = {
  type: "head_lens_ready", request_id: 1, run_id: "r", pos: 3, target_id: 7, target_text: " Mary", notice: null,
  head_token_id: ints([2, 2, 1], 7, 8, 8, 7), head_value: floats([2, 2, 1], 1, 2, 3, 4),
  head_rank: ints([2, 2], 0, 9, 99, 0), mlp_token_id: ints([2, 1], 8, 7), mlp_value: floats([2, 1], 5, 6),
  mlp_rank: ints([2], 3, 0), words: [{ token_id: 7, text: " Mary", logprob: null }, { token_id: 8, text: " John", logprob: null }],
  direct_heads: floats([2, 2], 1, -0.5, -3, 4), direct_mlps: floats([2], 0.25, 6), direct_bias: floats([2], 0.5, 0.25),
  embed: 0.5, final_bias: 1, total: 10,
};

describe("what heads write", () => {
  it("is sorted by what it does to the token, with the words of each", () => {
    const writes = writes_of(ANSWER);
    expect(writes.map(({ component: { kind, layer, index }, direct }) => [kind, layer, index, direct])).toEqual([
      ["mlp", 1, 0, 6], ["head", 1, 1, 4], ["head", 1, 0, -3], ["head", 0, 0, 1], ["head", 0, 1, -0.5], ["mlp", 0, 0, 0.25],
    ]);
    expect(writes[2]!.promoted).toEqual([{ token_id: 8, text: " John", prob: 3 }]);
    expect(writes[2]!.rank).toBe(99);
  });

  it("is a grid with a row a head and the MLPs below", () => {
    expect([...grid_values(ANSWER, "direct", 100)]).toEqual([1, -3, -0.5, 4, 0.25, 6]);
    const ranks = grid_values(ANSWER, "rank", 100);
    expect(ranks[0]).toBe(1);
    expect(ranks[1]).toBeCloseTo(0);
    expect(component_at({ row: 1, column: 0 }, 2)).toEqual({ kind: "head", layer: 0, index: 1 });
    expect(component_at({ row: 2, column: 1 }, 2)).toEqual({ kind: "mlp", layer: 1, index: 0 });
  });

  it("adds up to what the logit stands above the mean", () => {
    expect(sums_of(ANSWER)).toEqual({ heads: 1.5, mlps: 6.25, biases: 1.75, all: 10 });
    expect(rank_closeness(0, 50_000)).toBe(1);
    expect(rank_closeness(49_999, 50_000)).toBeCloseTo(0);
  });
});

describe("how widely heads look", () => {
  it("is sorted from the narrowest", () => {
    const answer: AttentionEntropyAnswer = {
      type: "attention_entropy_ready", request_id: 1, run_id: "r", pos: 3, entropy: floats([2, 1], 1.5, 0.25),
      top_key: ints([2, 1], 2, 0), top_weight: floats([2, 1], 0.5, 0.75),
    };
    expect(looks_of(answer)).toEqual([
      { head: { kind: "head", layer: 1, index: 0 }, entropy: 0.25, top_key: 0, top_weight: 0.75 },
      { head: { kind: "head", layer: 0, index: 0 }, entropy: 1.5, top_key: 2, top_weight: 0.5 },
    ]);
  });
});

describe("walking the grid", () => {
  it("goes along the text and through the layers, last on top, and stops at the edges", () => {
    const at = { pos: 4, layer: 1 };
    const ALL = { first_layer: 0, last_layer: 2 };
    expect(next_cell(at, "ArrowRight", ALL, 6)).toEqual({ pos: 5, layer: 1 });
    expect(next_cell({ pos: 5, layer: 1 }, "ArrowRight", ALL, 6)).toEqual({ pos: 5, layer: 1 });
    expect(next_cell(at, "ArrowUp", ALL, 6)).toEqual({ pos: 4, layer: 2 });
    expect(next_cell(at, "PageDown", ALL, 6)).toEqual({ pos: 4, layer: 0 });
    expect(next_cell(at, "Home", ALL, 6)).toEqual({ pos: 0, layer: 1 });
    expect(next_cell(at, "End", ALL, 6)).toEqual({ pos: 5, layer: 1 });
    expect(next_cell(at, "a", ALL, 6)).toBeNull();
    expect(next_cell(at, "constructor", ALL, 6)).toBeNull();
    expect(next_cell(at, "PageDown", { first_layer: 1, last_layer: 2 }, 6)).toEqual(at);
  });
});
