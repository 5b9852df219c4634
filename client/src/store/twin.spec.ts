import { describe, expect, it } from "vitest";
import { strongest_keys } from "../layout/attention_arcs";
import { build_blocks } from "../layout/blocks";
import { encode_sources, encode_step } from "../layout/encode";
import { legend_of } from "../layout/legend";
import type { ModelInfo, TwinStep } from "../protocol/generated";
import { explained_step, shown_colours } from "./explained";
import { activation_of, direct_of } from "./query";
import { signed_of } from "./signed_values";
import { create_store, type Store } from "./store";
import { has_twin, twin_difference, twin_fault, twin_row, twin_rows, twin_tokens } from "./twin";
import type { HostTensor, StepRecord, TokenChip } from "./types";

const SHAPE = { n_layers: 2, n_heads: 2, d_mlp: 3 };
const INFO: ModelInfo = {
  ...SHAPE, model_name: "tiny", architecture: "test", n_key_value_heads: 2, d_model: 4, d_head: 2, d_vocab: 10, n_ctx: 64,
  dtype: "float32", weights_sha256: "",
  capabilities: {
    channels: ["difference"], operations: [], component_kinds: [], missing: [], has_chat_template: false, analyses: [],
    missing_analyses: [],
  },
};
const floats = (shape: number[], ...values: number[]): HostTensor => ({ shape, values: Float32Array.from(values) });

/** Layer 0 differs by 4 at most, layer 1 by 1: the same code means less there. */
const TENSORS: StepRecord["tensors"] = {
  heads: floats([2, 2], 1, 2, 3, 4),
  difference_neurons: { shape: [2, 3], values: Int8Array.of(127, -64, 0, 127, -127, 0) },
  difference_neurons_scale: floats([2], 4, 1),
  difference_heads: floats([2, 2], -1, 0, 0, 2),
  difference_attention: floats([2, 2, 2], 0, 0, -0.25, 0.25, 0, 0, 0, 0),
  difference_residual: floats([3], 0, -2, 1),
  difference_attn_out: floats([2], 0, -0.5),
  difference_mlp_out: floats([2], 0, 0.25),
  difference_direct_heads: floats([2, 2], 0, 0, 1, -3),
  difference_direct_mlps: floats([2], 0, 0.5),
};

function twin(changes: Partial<TwinStep> = {}): TwinStep {
  return {
    token_id: 1, text: "a", chosen_id: 2, chosen_text: "b", prefers_id: 2, prefers_text: "b", logprob: Math.log(0.25), kl: 0.5,
    entropy: 1, top_tokens: [{ token_id: 9, text: " no", prob: 0.5 }], ...changes,
  };
}

function record(pos: number, changes: Partial<StepRecord> = {}): StepRecord {
  return {
    pos, seq: pos, token_id: pos, text: ` t${pos}`, chosen_id: pos + 1, chosen_text: ` t${pos + 1}`, generated: true, top_tokens: [],
    logprob: Math.log(0.5), entropy: 2, revision: 0, lens_texts: null, direct_target_id: null, direct_distractor_id: null,
    detail_dropped: false, tensors: TENSORS, ...changes,
  };
}

const chip = (token_id: number, pos: number): TokenChip =>
  ({ pos, token_id, text: ` t${token_id}`, generated: pos > 0, logprob: -1, entropy: 2 });

/** A run of tokens 0 .. n_tokens-1 with `twins` by position. */
function store_with(n_tokens: number, twins: Record<number, TwinStep>): Store {
  const store = create_store();
  store.model_info.value = INFO;
  store.tokens.value = Array.from({ length: n_tokens }, (_, pos) => chip(pos, pos));
  for (let pos = 0; pos < n_tokens - 1; pos++) store.history.put(record(pos, { twin: twins[pos] ?? null }));
  store.twin_seen.value = Object.keys(twins).length > 0;
  return store;
}

describe("the difference from the clean twin", () => {
  const blocks = build_blocks(INFO);
  const scratch = (): Int8Array => new Int8Array(6);

  it("is what the wire says, of every kind of component", () => {
    const shown = twin_difference(record(3, { twin: twin() }), "activation");
    const value = (kind: "head" | "neuron" | "attn" | "mlp", layer: number, index = 0): number | null =>
      activation_of(shown, { kind, layer, index }, SHAPE);
    expect([value("head", 0), value("head", 1, 1), value("attn", 1), value("mlp", 1)]).toEqual([-1, 2, -0.5, 0.25]);
    expect(value("neuron", 0)).toBe(4);
    expect(value("neuron", 0, 1)).toBeCloseTo(-4 * (64 / 127) ** 2, 5);
    expect(value("neuron", 1, 1)).toBe(-1);
    expect(direct_of(shown, { kind: "head", layer: 1, index: 1 }, SHAPE)).toBe(-3);
    expect(direct_of(shown, { kind: "attn", layer: 1, index: 0 }, SHAPE)).toBe(-2);
    expect(direct_of(shown, { kind: "neuron", layer: 1, index: 1 }, SHAPE)).toBeNull();
    expect(strongest_keys({ ...shown, pos: 1 }, 0, 1)).toEqual([{ key_pos: 1, weight: 0.25 }, { key_pos: 0, weight: -0.25 }]);
  });

  it("is drawn on one scale over all layers, of which the legend has the numbers", () => {
    const shown = twin_difference(record(3, { twin: twin() }), "activation");
    const { neurons, blocks_codes } = encode_step(shown, "activation", blocks, scratch());
    expect([...neurons!]).toEqual([127, -64, 0, 64, -63, 0]); // a quarter of the largest is half of its root
    expect(signed_of(shown.signed!, { kind: "neuron", layer: 1, index: 0 }, SHAPE)).toBe(1);
    expect(Math.sign(blocks_codes[0]!)).toBe(-1);
    const legend = legend_of("activation", "dark", shown);
    expect(legend.title).toContain("its clean twin");
    expect(legend.diverging).toBe(true);
    expect(legend.scales.map(({ name, ticks }) => [name, ticks.at(-1)!.label])).toEqual([
      ["heads", "+2"], ["neurons", "+4"], ["whole attn / mlp", "+0.5"],
    ]);
  });

  it("has direct contributions in that channel", () => {
    const shown = twin_difference(record(3, { twin: twin() }), "direct_logit");
    const { neurons, blocks_codes } = encode_step(shown, "direct_logit", blocks, scratch());
    expect([...neurons!].every((code) => code === 0)).toBe(true);
    expect(blocks_codes[4 + 1]).toBe(-127);
    expect(legend_of("direct_logit", "dark", shown).scales.map(({ name }) => name)).toEqual(["heads", "whole attn / mlp"]);
  });

  it("is the same array as long as the step's are: nothing is drawn again", () => {
    const step = record(3, { twin: twin() });
    const [one, two] = [step, { ...step, tensors: { ...step.tensors } }].map((held) => encode_sources(twin_difference(held, "activation"), "activation"));
    expect(one![0]).toBe(two![0]);
  });

  it("is nothing, and says so, where no twin ran or its arrays have not come", () => {
    const bare = { heads: TENSORS.heads! };
    for (const [step, words] of [[record(3, { tensors: bare }), "No twin ran"], [record(3, { twin: twin(), tensors: bare }), "not arrived"]] as const) {
      const shown = twin_difference(step, "activation");
      expect(activation_of(shown, { kind: "head", layer: 0, index: 0 }, SHAPE)).toBeNull();
      expect(legend_of("activation", "dark", shown).note).toContain(words);
    }
  });

  it("is shown where it is chosen, in the colours of what is signed", () => {
    const store = store_with(3, { 1: twin() });
    expect(shown_colours(store)).toBe("activation");
    store.analysis.comparison.view.value = "twin";
    expect(explained_step(store, store.history.get(1))?.against).toBe("twin");
    expect(shown_colours(store)).toBe("direct_logit");
    store.analysis.comparison.end();
    expect(store.analysis.comparison.view.value).toBe("twin"); // another run that is compared no more is not the twin
  });
});

describe("the clean twin along the text", () => {
  it("has both probabilities of what was chosen, and what the twin would rather say", () => {
    const row = twin_row(record(4, { twin: twin({ prefers_id: 9, prefers_text: " no" }) }))!;
    expect([row.prob, row.clean_prob, row.kl, row.prefers_text]).toEqual([0.5, 0.25, 0.5, " no"]);
    expect(twin_row(record(4, { twin: twin({ prefers_id: 5 }) }))!.prefers_text).toBeNull();
    expect(twin_row(record(4, { chosen_id: null, logprob: null, twin: twin() }))!.clean_prob).toBeNull();
    expect(twin_row(record(4))).toBeNull();
    expect(twin_rows(store_with(6, { 2: twin(), 3: twin() })).map(({ pos }) => pos)).toEqual([2, 3]);
  });

  it("is the run's text where both read the same", () => {
    const store = store_with(4, { 1: twin({ token_id: 1, chosen_id: 2 }), 2: twin({ token_id: 2, chosen_id: 3 }) });
    expect(twin_tokens(store)).toEqual(store.tokens.value);
  });

  it("is its own where it writes its own, with the probabilities that are known", () => {
    const store = store_with(5, {
      2: twin({ token_id: 2, chosen_id: 9, chosen_text: " no" }),
      3: twin({ token_id: 9, text: " no", chosen_id: 8, chosen_text: " more" }),
    });
    const clean = twin_tokens(store);
    expect(clean.map(({ token_id }) => token_id)).toEqual([0, 1, 2, 9, 8]);
    expect(Math.exp(clean[3]!.logprob!)).toBeCloseTo(0.5);
    expect(clean[4]!.logprob).toBeNull();
  });

  it("ends where the twin's text ends", () => {
    const store = store_with(6, { 2: twin({ token_id: 2, chosen_id: null, chosen_text: null }) });
    expect(twin_tokens(store).map(({ token_id }) => token_id)).toEqual([0, 1, 2]);
  });

  it("is there while one is carried or has been, and not where the model cannot", () => {
    const store = store_with(3, {});
    expect(has_twin(store)).toBe(false);
    store.twin_mode.value = "teacher_forced";
    expect(has_twin(store)).toBe(true);
    expect(twin_fault(store)).toBeNull();
    const missing = [{ channel: "difference", reason: "one row at a time" }] as const;
    store.model_info.value = { ...INFO, capabilities: { ...INFO.capabilities, channels: [], missing: [...missing] } };
    expect(twin_fault(store)).toBe("one row at a time");
  });
});
