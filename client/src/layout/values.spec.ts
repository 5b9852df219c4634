import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StepRecord, TensorName, HostTensor } from "../store/types";
import { arc_controls, strongest_keys } from "./attention_arcs";
import { build_blocks } from "./blocks";
import { direct_scales, encode_sources, encode_step } from "./encode";
import { thin_labels, type LabelBox } from "./label_thinning";
import { legend_of, short_number } from "./legend";
import { loudest, plan_points, POINT_FLOATS, write_layer_points } from "./loudest";
import { token_label } from "./token_text";

function step_with(tensors: Partial<Record<TensorName, HostTensor>>, pos = 9): StepRecord {
  return {
    pos, seq: 0, token_id: 0, text: "a", chosen_id: null, chosen_text: null, generated: false, top_tokens: [], logprob: null,
    entropy: null, revision: 0, tensors, lens_texts: null, direct_target_id: null, direct_distractor_id: null, detail_dropped: false,
  };
}

describe("strongest_keys", () => {
  const row = Uint8Array.from([120, 0, 60, 2, 30, 0, 0, 0, 10, 33]);
  it("orders by weight and leaves out what is not there", () => {
    const step = step_with({ attention: { shape: [1, 1, 10], values: row } });
    expect(strongest_keys(step, 0, 0).map((arc) => arc.key_pos)).toEqual([0, 2, 9, 4, 8]);
    expect(strongest_keys(step, 0, 0, 2).map((arc) => arc.weight)).toEqual([120 / 255, 60 / 255]);
  });

  it("reads key positions from attention_keys where rows are long", () => {
    const keys = Uint16Array.from([5, 600, 601, 700]);
    const step = step_with(
      { attention: { shape: [1, 1, 4], values: Uint8Array.from([9, 0, 200, 40]) }, attention_keys: { shape: [1, 1, 4], values: keys } },
      700,
    );
    expect(strongest_keys(step, 0, 0).map((arc) => arc.key_pos)).toEqual([601, 700, 5]);
  });

  it("has none for a head that does not exist or a step without attention", () => {
    expect(strongest_keys(step_with({}), 0, 0)).toEqual([]);
    expect(strongest_keys(step_with({ attention: { shape: [1, 1, 10], values: row } }), 0, 1)).toEqual([]);
  });

  it("an arc begins at the head and ends at the token, and rises above both", () => {
    const [a, b, , d] = arc_controls([12, 6, 0], [-1, 0, -4]);
    expect(a).toEqual([12, 6, 0]);
    expect(d).toEqual([-1, 0, -4]);
    expect(b[1]).toBeGreaterThan(6);
  });
});

describe("encode_step", () => {
  const blocks = build_blocks({ n_layers: 2, n_heads: 2, d_mlp: 3 });
  const scratch = new Int8Array(6);

  it("activation: neurons as they came, heads by their layer's largest, blocks by the model's", () => {
    const neurons = Int8Array.from([1, -127, 3, 4, 127, -128]);
    const step = step_with({
      neurons: { shape: [2, 3], values: neurons },
      heads: { shape: [2, 2], values: Float32Array.from([1, 2, 30, 10]) },
      attn_out: { shape: [2], values: Float32Array.from([1, 4]) },
      mlp_out: { shape: [2], values: Float32Array.from([NaN, 8]) },
    });
    const codes = encode_step(step, "activation", blocks, scratch);
    expect(codes.neurons).toBe(neurons);
    expect([...codes.blocks_codes]).toEqual([64, 127, 64, -128, 127, 42, 127, 127]);
  });

  it("a tensor of another shape is no value rather than a wrong one", () => {
    const step = step_with({ neurons: { shape: [2, 2], values: new Int8Array(4) }, heads: { shape: [2], values: new Float32Array(2) } });
    expect(encode_step(step, "activation", blocks, scratch)).toMatchObject({ neurons: null, has_values: false });
  });

  it("direct_logit: signed square root over the model, attention as the sum of its heads and bias", () => {
    const step = step_with({
      direct_heads: { shape: [2, 2], values: Float32Array.from([1, -4, 0, 2]) },
      direct_bias: { shape: [2], values: Float32Array.from([1, 2]) },
      direct_mlps: { shape: [2], values: Float32Array.from([-1, 0.25]) },
      direct_neuron_layer: { shape: [2], values: Uint16Array.from([1, 9]) },
      direct_neuron_index: { shape: [2], values: Uint32Array.from([2, 0]) },
      direct_neuron_value: { shape: [2], values: Float32Array.from([-0.5, 0.1]) },
    });
    const codes = encode_step(step, "direct_logit", blocks, scratch);
    expect([...codes.blocks_codes]).toEqual([64, -127, -90, -64, 0, 90, 127, 32]);
    expect([...codes.neurons!]).toEqual([0, 0, 0, 0, 0, -127]);
    expect(direct_scales(step)).toEqual({ blocks: 4, heads: 4, neurons: 0.5 });
  });

  it("names as its sources what it reads, so that later lens tensors upload nothing", () => {
    const neurons = { shape: [2, 3], values: new Int8Array(6) };
    const first = step_with({ neurons });
    const merged = { ...first, tensors: { neurons, lens_prob: { shape: [2], values: new Float32Array(2) } } };
    expect(encode_sources(merged, "activation")).toEqual(encode_sources(first, "activation"));
  });
});

describe("loudest", () => {
  it("picks none quieter than one it leaves out", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -128, max: 127 }), { minLength: 1, maxLength: 400 }), fc.integer({ min: 1, max: 40 }), (list, limit) => {
        const codes = Int8Array.from(list);
        const picked = new Set(loudest(codes, 0, codes.length, limit));
        expect(picked.size).toBeLessThanOrEqual(limit);
        const size = (i: number): number => (codes[i] === -128 ? 0 : Math.abs(codes[i]!));
        const quietest = Math.min(128, ...[...picked].map(size));
        const missed = list.map((_, i) => i).filter((i) => !picked.has(i) && size(i) > 38);
        for (const i of missed) expect(size(i)).toBeLessThanOrEqual(quietest);
        if (missed.length > 0) expect(picked.size).toBe(limit);
      }),
    );
  });

  it("writes points where the cells lie, and leaves the rest unused", () => {
    const blocks = build_blocks({ n_layers: 2, n_heads: 1, d_mlp: 100 });
    const plan = plan_points(blocks);
    const codes = new Int8Array(200);
    codes[100 + 37] = -120;
    const points = new Float32Array(plan.points * POINT_FLOATS);
    write_layer_points(points, 0, 1, codes, new Int8Array(6), blocks, plan);
    const used = Array.from({ length: plan.points }, (_, i) => i).filter((i) => points[i * POINT_FLOATS + 3] !== 0);
    expect(used).toHaveLength(1);
    expect(points[used[0]! * POINT_FLOATS + 2]).toBeCloseTo(-120 / 127);
  });
});

describe("thin_labels", () => {
  it("never lets two labels touch, and never drops one that touches no more important one", () => {
    const box = fc.record({
      x: fc.integer({ min: 0, max: 300 }), y: fc.integer({ min: 0, max: 200 }),
      w: fc.integer({ min: 1, max: 80 }), h: fc.integer({ min: 1, max: 30 }), priority: fc.integer({ min: 0, max: 5 }),
    });
    const touch = (a: LabelBox, b: LabelBox): boolean => a.x < b.x + b.w + 2 && b.x < a.x + a.w + 2 && a.y < b.y + b.h + 2 && b.y < a.y + a.h + 2;
    fc.assert(
      fc.property(fc.array(box, { maxLength: 40 }), (boxes) => {
        const kept = thin_labels(boxes, 2);
        for (const i of kept) for (const j of kept) if (i !== j) expect(touch(boxes[i]!, boxes[j]!)).toBe(false);
        boxes.forEach((dropped, i) => {
          if (!kept.includes(i)) expect(kept.some((j) => touch(boxes[j]!, dropped) && boxes[j]!.priority >= dropped.priority)).toBe(true);
        });
      }),
    );
  });
});

describe("token_label", () => {
  it("shows white space and hides what could turn a label round", () => {
    expect(token_label(" Mary")).toBe("Mary");
    expect(token_label("\n")).toBe("\u23ce");
    expect(token_label("  ")).toBe("\u2423\u2423");
    expect(token_label("a\u202eb\u0000c")).toBe("abc");
    expect(token_label("\u200b")).toBe("\u2205");
    expect([...token_label("x".repeat(500))].length).toBeLessThanOrEqual(22);
  });
});

describe("legend", () => {
  it("says numbers under the colours, for what is shown", () => {
    const activation = legend_of("activation", "dark", undefined);
    expect(activation.scales[0]!.ticks.map((tick) => tick.label)).toEqual(["0 %", "6 %", "25 %", "56 %", "100 %"]);
    const step = step_with({ direct_heads: { shape: [1, 2], values: Float32Array.from([2.88, -1]) } });
    const direct = legend_of("direct_logit", "dark", step);
    expect(direct.diverging).toBe(true);
    expect(direct.scales[0]!.ticks.map((tick) => tick.label)).toEqual(["\u22122.9", "\u22120.72", "0", "+0.72", "+2.9"]);
    expect(short_number(0.00001)).toBe("1.0e-5");
  });
});
