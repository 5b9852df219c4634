import { describe, expect, it } from "vitest";
import type { ComparisonAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import { layer_rows, most_different, other_words, same_words } from "./comparison_rows";

const floats = (shape: number[], values: number[]): HostTensor => ({ shape, values: Float32Array.from(values) });
const SHAPE = { n_layers: 2, n_heads: 2, d_mlp: 30 };
const neurons = Array.from({ length: 60 }, (_, i) => (i % 2 ? -1 : 1) * i);
const ANSWER = {
  other_tokens: ["a", " x"], differing: [1], first_difference: 1, without_interventions: false, other_lens_texts: ["p", "q"],
  difference: {
    residual: floats([3], [0, 1, -2]), attn_out: floats([2], [0.5, 0]), lens_logprob: floats([2], [0, 3]),
    heads: floats([2, 2], [0, -3, 0, 1]), neurons: floats([2, 30], neurons),
  },
} as unknown as ComparisonAnswer;

describe("two runs in rows", () => {
  it("layer by layer, nothing where a channel is missing", () => {
    const [first, second] = layer_rows(ANSWER, undefined, 2);
    expect(first).toEqual({ layer: 0, stream: 1, attn: 0.5, mlp: null, own_lens: null, other_lens: "p", logprob: 0 });
    expect([second!.stream, second!.logprob]).toEqual([-2, 3]);
  });
  it("what differs most first, and nothing that does not differ", () => {
    expect(most_different(ANSWER, "head", SHAPE, 5).map(({ component, difference }) => [component.layer, component.index, difference]))
      .toEqual([[0, 1, -3], [1, 1, 1]]);
    expect(most_different(ANSWER, "neuron", SHAPE, 3).map(({ component, difference }) => [component.layer, component.index, difference]))
      .toEqual([[1, 29, -59], [1, 28, 58], [1, 27, -57]]);
    expect(most_different(ANSWER, "neuron", SHAPE, 1, { first_layer: 0, last_layer: 0 })[0])
      .toEqual({ component: { kind: "neuron", layer: 0, index: 29 }, difference: -29 });
  });
  it("in words", () => {
    expect(other_words(ANSWER)).toBe("1 other token");
    expect(other_words({ ...ANSWER, differing: [], without_interventions: true })).toBe("the same tokens, without the interventions");
    expect(same_words(ANSWER)).toContain("Before position 1 (“ x” there)");
    expect(same_words({ ...ANSWER, first_difference: null })).toContain("the same everywhere");
  });
});
