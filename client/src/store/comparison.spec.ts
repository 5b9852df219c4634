import { describe, expect, it } from "vitest";
import { build_blocks } from "../layout/blocks";
import { colour_map } from "../layout/colour";
import { encode_sources, encode_step } from "../layout/encode";
import { legend_of } from "../layout/legend";
import { strongest_keys } from "../layout/attention_arcs";
import type { ModelInfo } from "../protocol/generated";
import type { Ask, ComparisonAnswer, EffectsAnswer } from "../protocol/questions";
import { causal_values, CausalMaps, rank_words } from "./causal";
import { companded } from "./compared_step";
import { Comparison, type OtherRun } from "./comparison";
import { drawn_text, file_graph } from "./drawn_text";
import { explained_step, shown_colours } from "./explained";
import { activation_of, direct_of } from "./query";
import { create_store, type Store } from "./store";
import type { HostTensor, StepRecord } from "./types";

const OTHER: OtherRun = {
  other_prompt: "b", apply_chat_template: false, without_interventions: false, target: null, distractor: null,
};
const floats = (shape: number[], ...values: number[]): HostTensor => ({ shape, values: Float32Array.from(values) });
const INFO: ModelInfo = {
  model_name: "tiny", architecture: "test", n_layers: 2, n_heads: 2, n_key_value_heads: 2, d_model: 4, d_head: 2, d_mlp: 3,
  d_vocab: 10, n_ctx: 64, dtype: "float32", weights_sha256: "",
  capabilities: {
    channels: [], operations: [], component_kinds: [], missing: [], has_chat_template: false, analyses: [], missing_analyses: [],
  },
};

function answer_at(pos: number): ComparisonAnswer {
  return {
    type: "comparison_ready", request_id: 1, run_id: "run-1", pos, without_interventions: false,
    other_tokens: ["a", " x"], differing: [1], first_difference: 1, target_id: 3, target_text: " t", distractor_id: null,
    distractor_text: null, other_top_tokens: [{ token_id: 9, text: " no", prob: 0.5 }], other_logprob: -2, other_entropy: 1,
    logprob: -1, other_lens_texts: ["p", "q"],
    other: {
      heads: floats([2, 2], 2, 2, 2, 2), neurons: floats([2, 3], 4, -1, 0, 0, 0, 0), attention: floats([2, 2, 2], 1, 0, 0.5, 0.5, 1, 0, 1, 0),
      direct_heads: floats([2, 2], 1, 0, 0, 0), direct_mlps: floats([2], 0, 3),
    },
    difference: {
      heads: floats([2, 2], -1, 0, 1, 2), neurons: floats([2, 3], 0, -4, 0, 1, 0, 0), residual: floats([3], 0, -2, 1),
      attn_out: floats([2], 0, -0.5), mlp_out: floats([2], 0, 0.25), attention: floats([2, 2, 2], 0, 0, -0.25, 0.25, 0, 0, 0, 0),
      direct_heads: floats([2, 2], 0, 0, 0, -2), direct_mlps: floats([2], 0, 0.5), direct_bias: floats([2], 0, 0.5),
      direct_neuron_layer: { shape: [1], values: Uint16Array.of(1) },
      direct_neuron_index: { shape: [1], values: Uint32Array.of(2) }, direct_neuron_value: floats([1], -0.125),
    },
    secs: 0.1,
  };
}

function record(pos: number): StepRecord {
  return {
    pos, seq: pos, token_id: pos, text: ` t${pos}`, chosen_id: null, chosen_text: null, generated: false, top_tokens: [],
    logprob: null, entropy: null, revision: 0, lens_texts: null, direct_target_id: null, direct_distractor_id: null,
    detail_dropped: false, tensors: { heads: floats([2, 2], 1, 2, 3, 4) },
  };
}

async function compared_store(view: "other" | "difference"): Promise<Store> {
  const store = create_store();
  store.model_info.value = INFO;
  const { comparison } = store.analysis;
  comparison.begin(OTHER);
  await comparison.ask((async () => answer_at(1)) as unknown as Ask, 1, { target: 3, distractor: null });
  comparison.view.value = view;
  return store;
}

describe("another run beside this one", () => {
  it("is asked about once a position, and a rewound run is asked about again", async () => {
    const asked: number[] = [];
    const ask = (async (question: { pos: number }) => {
      asked.push(question.pos);
      return answer_at(question.pos);
    }) as unknown as Ask;
    const comparison = new Comparison();
    await comparison.ask(ask, 1, { target: 3, distractor: null }); // nothing to compare with yet
    comparison.begin(OTHER);
    for (const pos of [1, 1, 4]) await comparison.ask(ask, pos, { target: 3, distractor: null });
    expect(asked).toEqual([1, 4]);
    comparison.rewound(2);
    expect([...comparison.answers.value.keys()]).toEqual([1]);
    comparison.begin({ ...OTHER, other_prompt: "c" });
    expect(comparison.answers.value.size).toBe(0);
    comparison.end();
    expect(comparison.view.value).toBe("own");
  });

  it("asks with the person's tokens where they wrote some, else with what the step explains", async () => {
    const seen: unknown[] = [];
    const ask = (async (question: { pos: number; target: unknown; distractor: unknown }) => {
      seen.push([question.target, question.distractor]);
      return answer_at(question.pos);
    }) as unknown as Ask;
    const comparison = new Comparison();
    comparison.begin(OTHER);
    await comparison.ask(ask, 0, { target: 3, distractor: 4 });
    comparison.begin({ ...OTHER, target: " Mary" });
    await comparison.ask(ask, 0, { target: 3, distractor: 4 });
    comparison.begin({ ...OTHER, distractor: " John" });
    await comparison.ask(ask, 0, { target: 3, distractor: 4 });
    expect(seen).toEqual([[3, 4], [" Mary", null], [3, " John"]]);
  });

  it("gives the other run's step: its values, its predictions, its text", async () => {
    const store = await compared_store("other");
    const step = explained_step(store, record(1))!;
    expect([step.text, step.compared, step.top_tokens[0]!.text, step.lens_texts]).toEqual([" x", "other", " no", ["p", "q"]]);
    expect(activation_of(step, { kind: "head", layer: 0, index: 0 }, INFO)).toBe(2);
    expect(activation_of(step, { kind: "neuron", layer: 0, index: 1 }, INFO)).toBeCloseTo(-1, 1);
    expect(direct_of(step, { kind: "mlp", layer: 1, index: 0 }, INFO)).toBe(3);
    expect(strongest_keys(step, 0, 1).map(({ weight }) => weight)).toEqual([128 / 255, 128 / 255]);
    expect(shown_colours(store)).toBe("activation");
    expect(legend_of("activation", "dark", step).title).toMatch(/^The other run/);
  });

  it("gives the difference on the diverging scale, with numbers, in every channel", async () => {
    const store = await compared_store("difference");
    const step = explained_step(store, record(1))!;
    expect(activation_of(step, { kind: "neuron", layer: 0, index: 1 }, INFO)).toBe(-4);
    expect(activation_of(step, { kind: "attn", layer: 1, index: 0 }, INFO)).toBe(-0.5);
    expect(direct_of(step, { kind: "neuron", layer: 1, index: 2 }, INFO)).toBe(-0.125);
    expect(strongest_keys(step, 0, 1).map(({ key_pos, weight }) => [key_pos, weight])).toEqual([[1, 0.25], [0, -0.25]]);
    expect(shown_colours(store)).toBe("direct_logit");
    const codes = encode_step(step, "activation", build_blocks(INFO), new Int8Array(6));
    expect([...codes.neurons!]).toEqual([0, -127, 0, 64, 0, 0]);
    expect([...codes.blocks_codes]).toEqual([-90, 0, 0, 0, 90, 127, -127, 90]);
    const legend = legend_of("activation", "dark", step);
    expect(legend.diverging).toBe(true);
    expect(legend.scales.map(({ name, ticks }) => [name, ticks.at(-1)!.label])).toEqual([
      ["heads", "+2"], ["neurons", "+4"], ["whole attn / mlp", "+0.5"],
    ]);
    store.display_channel.value = "direct_logit";
    const direct = explained_step(store, record(1))!;
    const direct_codes = encode_step(direct, "direct_logit", build_blocks(INFO), new Int8Array(6));
    expect([...direct_codes.neurons!]).toEqual([0, 0, 0, 0, 0, -127]);
    expect([...direct_codes.blocks_codes].slice(4)).toEqual([0, -127, -127, 73]); // L1: heads, attention with its bias, MLP
    expect(encode_sources(explained_step(store, record(1))!, "direct_logit")[0]).toBe(direct.signed); // nothing is made twice
  });

  it("shows nothing of this run where the comparison has not come", async () => {
    const store = await compared_store("difference");
    const step = explained_step(store, record(2))!;
    expect(activation_of(step, { kind: "head", layer: 0, index: 0 }, INFO)).toBeNull();
    const codes = encode_step(step, "activation", build_blocks(INFO), new Int8Array(6));
    expect([...codes.blocks_codes, ...codes.neurons!].every((code) => code === 0)).toBe(true);
    expect(legend_of("activation", "dark", step).note).toContain("Not computed");
  });

  it("compands as the server does", () => {
    const { neurons, neurons_scale } = companded(floats([2, 3], 4, -1, 0, 0, 0, 0));
    expect([...neurons!.values]).toEqual([127, -64, 0, 0, 0, 0]);
    expect([...neurons_scale!.values]).toEqual([4, 0]);
  });
});

function effects(scope: EffectsAnswer["scope"], changes: Partial<EffectsAnswer> = {}): EffectsAnswer {
  const kind = scope === "mlps" ? "mlp" as const : scope === "neurons" ? "neuron" as const : "head" as const;
  return {
    type: "effects_ready", request_id: 1, run_id: "run-1", scope, ablation: "zero", everywhere: false, clean_prob: 0.5,
    metric: { pos: 1, target_id: 3, target_text: " t", distractor_id: 4, distractor_text: " u", value: 1, notice: null },
    components: [{ kind, layer: 1, index: 0 }, { kind, layer: 0, index: scope === "mlps" ? 0 : 1 }],
    effects: floats([2], 2, -0.5), probs: floats([2], 0.1, 0.6), attributed: floats([2], 1, 0.25), spearman: -0.5,
    sign_agreement: 0.5, secs: 1, ...changes,
  };
}

describe("the causal map in the picture", () => {
  it("lays measured, attributed and their difference out, of all scopes that were measured alike", () => {
    const maps = new CausalMaps();
    maps.keep(effects("heads"));
    maps.keep(effects("mlps", { spearman: 0.75 }));
    maps.keep(effects("neurons", { attributed: null, spearman: null }));
    const measured = causal_values(maps, 1, INFO);
    expect([...measured.heads!]).toEqual([Number.NaN, -0.5, 2, Number.NaN]);
    expect([...measured.mlps!]).toEqual([-0.5, 2]);
    expect([...measured.neurons!.at!]).toEqual([3, 1]);
    expect(causal_values(maps, 1, INFO)).toBe(measured);
    expect(measured.note).toContain("heads −0.50, MLPs 0.75");
    maps.view.value = "difference";
    expect(causal_values(maps, 1, INFO).heads![2]).toBe(1);
    expect(causal_values(maps, 1, INFO).neurons!.values.every(Number.isNaN)).toBe(true);
    maps.view.value = "attributed";
    expect(causal_values(maps, 1, INFO).mlps![0]).toBe(0.25);
  });

  it("keeps together only what was measured in the same way", () => {
    const maps = new CausalMaps();
    maps.keep(effects("heads"));
    maps.keep(effects("mlps", { ablation: "mean" }));
    expect(maps.answers.value.map(({ scope }) => scope)).toEqual(["mlps"]);
    expect(rank_words([effects("heads", { spearman: null })])).toContain("No rank correlation");
  });

  it("is of one token: at another it says which, and colours nothing", () => {
    const store = create_store();
    store.model_info.value = INFO;
    store.display_channel.value = "causal";
    store.analysis.causal.keep(effects("heads"));
    const here = explained_step(store, record(1))!;
    expect(direct_of(here, { kind: "head", layer: 1, index: 0 }, INFO)).toBe(2);
    expect(direct_of(here, { kind: "head", layer: 0, index: 0 }, INFO)).toBeNull();
    expect(activation_of(here, { kind: "head", layer: 0, index: 1 }, INFO)).toBe(2); // values are the run's own
    const there = explained_step(store, record(2))!;
    expect(there.signed!.note).toContain("after position 1");
    expect(direct_of(there, { kind: "head", layer: 1, index: 0 }, INFO)).toBeNull();
    expect(colour_map(shown_colours(store), "dark").diverging).toBe(true);
  });
});

describe("a graph from a file", () => {
  it("has its own tokens and no values, while why is looked at", () => {
    const store = create_store();
    store.tokens.value = [{ pos: 0, token_id: 1, text: "run", generated: false, logprob: null, entropy: null }];
    store.current_pos.value = 0;
    const metric = { pos: 2, target_id: 1, target_text: " x", distractor_id: null, distractor_text: null, value: 1, notice: null };
    const graph = { metric, nodes: [{ node: "embed@0", relevance: 1, label: "", pin: null }], edges: [], n_hidden: 0, scale: 1, score_scale: 0 };
    store.analysis.walk.from_file.value = file_graph(graph, new Map([[0, "file"]]));
    expect(drawn_text(store).tokens[0]!.text).toBe("run");
    store.analysis.walk.is_open.value = true;
    const { tokens, current_pos, history } = drawn_text(store);
    expect([tokens.map(({ text }) => text), current_pos]).toEqual([["file", "·", "·"], 2]);
    const step = explained_step(store, history.get(2))!;
    expect(activation_of(step, { kind: "head", layer: 0, index: 0 }, INFO)).toBeNull();
    expect(legend_of("activation", "dark", step).title).toBe("A graph from a file");
  });
});
