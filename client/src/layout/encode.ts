// What the sheets show, as signed bytes: one step's tensors -> codes in -127 .. 127 (-128: not finite).
import { attention_terms } from "../store/query";
import type { DisplayChannel, HostTensor, SignedValues, StepRecord } from "../store/types";
import type { Blocks } from "./blocks";

const NOT_FINITE = -128;

/** One token's codes. `blocks_codes` int8 [n_layers, n_heads + 2]: heads, then the whole attn, then the whole mlp. */
export interface SheetCodes {
  neurons: Int8Array | null;
  blocks_codes: Int8Array;
  has_values: boolean;
}

function floats(tensor: HostTensor | undefined, size: number): Float32Array | null {
  return tensor && tensor.values instanceof Float32Array && tensor.values.length === size ? tensor.values : null;
}

function linear_code(value: number, max: number): number {
  if (!Number.isFinite(value)) return NOT_FINITE;
  return max > 0 ? Math.round(127 * Math.max(-1, Math.min(1, value / max))) : 0;
}

/** Signed square root: small contributions stay visible beside the largest. */
function root_code(value: number, max: number): number {
  if (!Number.isFinite(value)) return NOT_FINITE;
  return max > 0 ? Math.sign(value) * Math.round(127 * Math.sqrt(Math.min(1, Math.abs(value) / max))) : 0;
}

function max_abs(values: ArrayLike<number>, from = 0, to = values.length): number {
  let max = 0;
  for (let i = from; i < to; i++) {
    const size = Math.abs(values[i]!);
    if (size > max && size < Infinity) max = size;
  }
  return max;
}

/** Sizes: neurons as they came (companded per layer), heads by their layer's largest, blocks by the model's largest. */
function encode_activation(step: StepRecord, blocks: Blocks): SheetCodes {
  const { n_layers, n_heads, d_mlp } = blocks;
  const codes = step.tensors.neurons?.values;
  const neurons = codes instanceof Int8Array && codes.length === n_layers * d_mlp ? codes : null;
  const stride = n_heads + 2;
  const out = new Int8Array(n_layers * stride);
  const heads = floats(step.tensors.heads, n_layers * n_heads);
  const whole = [floats(step.tensors.attn_out, n_layers), floats(step.tensors.mlp_out, n_layers)];
  for (let layer = 0; layer < n_layers; layer++) {
    if (heads) {
      const max = max_abs(heads, layer * n_heads, (layer + 1) * n_heads);
      for (let h = 0; h < n_heads; h++) out[layer * stride + h] = linear_code(heads[layer * n_heads + h]!, max);
    }
  }
  whole.forEach((values, i) => {
    const max = values ? max_abs(values) : 0;
    for (let layer = 0; values && layer < n_layers; layer++) out[layer * stride + n_heads + i] = root_code(values[layer]!, max);
  });
  return { neurons, blocks_codes: out, has_values: neurons !== null || heads !== null };
}

/** The scales of the direct-logit display: the largest |contribution| among blocks, heads and neurons, logits. */
export interface DirectScales {
  blocks: number;
  heads: number;
  neurons: number;
}

export function direct_scales(step: StepRecord): DirectScales {
  const of = (tensor: HostTensor | undefined): number => (tensor ? max_abs(tensor.values) : 0);
  const attn = attention_terms(step.tensors);
  return {
    blocks: Math.max(of(step.tensors.direct_mlps), attn ? max_abs(attn) : 0),
    heads: of(step.tensors.direct_heads),
    neurons: of(step.tensors.direct_neuron_value),
  };
}

export function signed_scales({ heads, attn, mlps, neurons }: SignedValues): DirectScales {
  const of = (values: Float32Array | null | undefined): number => (values ? max_abs(values) : 0);
  const of_neurons = neurons && ("scales" in neurons ? of(neurons.scales) : of(neurons.values));
  return { heads: of(heads), neurons: of_neurons ?? 0, blocks: Math.max(of(attn), of(mlps)) };
}

/** What is not known has the code of zero. */
function signed_code(value: number | undefined, max: number): number {
  return value === undefined || Number.isNaN(value) ? 0 : root_code(value, max);
}

function encode_signed(values: SignedValues, blocks: Blocks, scratch: Int8Array): SheetCodes {
  const { n_layers, n_heads } = blocks;
  const scales = signed_scales(values);
  const stride = n_heads + 2;
  const out = new Int8Array(n_layers * stride);
  for (let layer = 0; layer < n_layers; layer++) {
    for (let h = 0; h < n_heads; h++) out[layer * stride + h] = signed_code(values.heads?.[layer * n_heads + h], scales.heads);
    out[layer * stride + n_heads] = signed_code(values.attn?.[layer], scales.blocks);
    out[layer * stride + n_heads + 1] = signed_code(values.mlps?.[layer], scales.blocks);
  }
  encode_signed_neurons(values.neurons, scales.neurons, scratch);
  return { neurons: scratch, blocks_codes: out, has_values: true };
}

function encode_signed_neurons(neurons: SignedValues["neurons"], max: number, scratch: Int8Array): void {
  scratch.fill(0);
  if (!neurons) return;
  if ("scales" in neurons) {
    rescale(neurons, max, scratch);
    return;
  }
  const { at, values: sizes } = neurons;
  const n = Math.min(sizes.length, at ? at.length : scratch.length);
  for (let i = 0; i < n; i++) {
    const cell = at ? at[i]! : i;
    if (cell < scratch.length) scratch[cell] = signed_code(sizes[i], max);
  }
}

/** From codes by their layer's largest to codes by the largest of all: both are square roots, so one factor a layer. */
function rescale({ values, scales }: { values: Int8Array; scales: Float32Array }, max: number, out: Int8Array): void {
  const width = scales.length > 0 ? values.length / scales.length : 0;
  if (max <= 0 || values.length !== out.length || !Number.isInteger(width)) return;
  const table = new Int8Array(256); // by the code's bits: a look-up costs less than a product and rounding
  for (let layer = 0; layer < scales.length; layer++) {
    const factor = Math.sqrt(scales[layer]! / max);
    for (let code = -127; code <= 127; code++) table[code & 255] = Math.round(code * factor);
    table[NOT_FINITE & 255] = NOT_FINITE;
    for (let i = layer * width; i < (layer + 1) * width; i++) out[i] = table[values[i]! & 255]!;
  }
}

function encode_direct(step: StepRecord, blocks: Blocks, scratch: Int8Array): SheetCodes {
  const { n_layers, n_heads, d_mlp } = blocks;
  const scales = direct_scales(step);
  const stride = n_heads + 2;
  const out = new Int8Array(n_layers * stride);
  const heads = floats(step.tensors.direct_heads, n_layers * n_heads);
  const mlps = floats(step.tensors.direct_mlps, n_layers);
  const attn = heads ? attention_terms(step.tensors) : null;
  for (let layer = 0; layer < n_layers; layer++) {
    for (let h = 0; heads && h < n_heads; h++) {
      out[layer * stride + h] = root_code(heads[layer * n_heads + h]!, scales.heads);
    }
    if (attn) out[layer * stride + n_heads] = root_code(attn[layer]!, scales.blocks);
    if (mlps) out[layer * stride + n_heads + 1] = root_code(mlps[layer]!, scales.blocks);
  }
  scratch.fill(0);
  const [layers, indices, values] = [
    step.tensors.direct_neuron_layer?.values,
    step.tensors.direct_neuron_index?.values,
    step.tensors.direct_neuron_value?.values,
  ];
  if (layers && indices && values) {
    const count = Math.min(layers.length, indices.length, values.length);
    for (let i = 0; i < count; i++) {
      const [layer, index] = [layers[i]!, indices[i]!];
      if (layer < n_layers && index < d_mlp) scratch[layer * d_mlp + index] = root_code(values[i]!, scales.neurons);
    }
  }
  return { neurons: scratch, blocks_codes: out, has_values: heads !== null || mlps !== null };
}

/**
 * Codes of a step in a display channel. `scratch` int8 [n_layers * d_mlp] is overwritten and returned as
 * `neurons` where the channel has no dense values for them.
 */
export function encode_step(step: StepRecord, channel: DisplayChannel, blocks: Blocks, scratch: Int8Array): SheetCodes {
  if (step.signed) return encode_signed(step.signed, blocks, scratch);
  return channel === "direct_logit" ? encode_direct(step, blocks, scratch) : encode_activation(step, blocks);
}

/** The arrays that `encode_step` reads: where none of them changed, the codes have not either. */
export function encode_sources(step: StepRecord, channel: DisplayChannel): readonly unknown[] {
  const t = step.tensors;
  if (step.signed) return [step.signed];
  return channel === "direct_logit"
    ? [t.direct_heads, t.direct_mlps, t.direct_bias, t.direct_neuron_value]
    : [t.neurons, t.heads, t.attn_out, t.mlp_out];
}
