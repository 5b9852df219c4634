// Where things lie and how loud they look, held against one file that the notebook's side is held against too
// (tests/unit/notebook/test_layout.py). `npx vitest run -u src/layout/shared_layout.spec.ts` writes it anew.
import { describe, expect, it } from "vitest";
import type { Component } from "../protocol/generated";
import type { StepRecord, Theme } from "../store/types";
import { build_blocks, component_at, layer_x, rect_of, type Blocks, type ModelShape } from "./blocks";
import { colour_map } from "./colour";
import { encode_step } from "./encode";

const SHAPES: ModelShape[] = [
  [30, 9, 1536], [80, 64, 28672], [12, 12, 3072], [1, 1, 1], [3, 2, 24], [5, 0, 1021], [24, 16, 4097],
].map(([n_layers, n_heads, d_mlp]) => ({ n_layers: n_layers!, n_heads: n_heads!, d_mlp: d_mlp! }));

function some_components({ n_layers, n_heads, d_mlp }: ModelShape): Component[] {
  const some = (n: number): number[] => [...new Set([0, 1, Math.floor(n / 3), n - 2, n - 1])].filter((i) => i >= 0 && i < n);
  return some(n_layers).flatMap((layer) => [
    ...some(d_mlp).map((index): Component => ({ kind: "neuron", layer, index })),
    ...some(n_heads).map((index): Component => ({ kind: "head", layer, index })),
    { kind: "attn", layer, index: 0 }, { kind: "mlp", layer, index: 0 },
  ]);
}

function probes(blocks: Blocks): { x: number; y: number; component: Component | null }[] {
  const found = [];
  for (let i = 0; i < 60; i++) {
    const [x, y] = [16.4 * ((i * 0.618034) % 1) - 0.2, (blocks.top + 0.6) * ((i * 0.754878) % 1) - 0.3];
    found.push({ x, y, component: component_at(blocks, x, y) });
  }
  return found;
}

function layout_of(shape: ModelShape): object {
  const blocks = build_blocks(shape);
  return {
    blocks,
    rects: some_components(shape).map((component) => ({ component, rect: rect_of(blocks, component) })),
    layers_x: [0, shape.n_layers - 1].map((layer) => layer_x(blocks, layer)),
    probes: probes(blocks),
  };
}

/** Every eighth of the 256 entries. */
function some_colours(channel: "activation" | "direct_logit", theme: Theme): number[][] {
  const { lut } = colour_map(channel, theme);
  return Array.from({ length: 32 }, (_, i) => [...lut.slice(i * 32, i * 32 + 3)]);
}

const STEP = {
  neurons: Int8Array.from([127, -127, 0, 64, -128, 3]),
  neurons_scale: Float32Array.from([2, 0.5]),
  heads: Float32Array.from([1, 3, 0.5, 0, 0.25, 0.125]),
  attn_out: Float32Array.from([4, 1]),
  mlp_out: Float32Array.from([0.5, 8]),
  direct_heads: Float32Array.from([0.5, -1, 0.25, 2, -0.125, 0]),
  direct_mlps: Float32Array.from([-3, 0.75]),
  direct_bias: Float32Array.from([0.5, -0.25]),
  direct_neuron_layer: Uint16Array.from([1, 0]),
  direct_neuron_index: Uint32Array.from([2, 1]),
  direct_neuron_value: Float32Array.from([-0.5, 0.1]),
};

function codes_of(channel: "activation" | "direct_logit"): object {
  const shape: Record<string, number[]> = { neurons: [2, 3], heads: [2, 3], direct_heads: [2, 3] };
  const tensors = Object.fromEntries(
    Object.entries(STEP).map(([name, values]) => [name, { shape: shape[name] ?? [values.length], values }]),
  );
  const blocks = build_blocks({ n_layers: 2, n_heads: 3, d_mlp: 3 });
  const { neurons, blocks_codes } = encode_step({ tensors } as unknown as StepRecord, channel, blocks, new Int8Array(6));
  return { neurons: [...neurons!], blocks_codes: [...blocks_codes] };
}

describe("the picture that both sides draw", () => {
  it("is the one in the shared file", async () => {
    const document = {
      layouts: SHAPES.map(layout_of),
      colours: (["activation", "direct_logit"] as const).flatMap((channel) =>
        (["dark", "light"] as const).map((theme) => ({ channel, theme, every_eighth: some_colours(channel, theme) })),
      ),
      step: Object.fromEntries(Object.entries(STEP).map(([name, values]) => [name, [...values]])),
      codes: { activation: codes_of("activation"), direct_logit: codes_of("direct_logit") },
    };
    const text = JSON.stringify(document, null, 1).replace(/\n\s{4,}(?=["\d\-[\]{}])/g, " ");
    await expect(text + "\n").toMatchFileSnapshot("../../../shared_schema/fixtures/picture.json");
  });
});
