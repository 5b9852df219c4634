// Made-up steps with the statistics of real ones (heavy tails, a few very loud cells), for looking and timing.
import type { ModelInfo } from "../src/protocol/generated";
import type { HostTensor, StepRecord, TokenChip } from "../src/store/types";

export function random_source(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function gauss(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function model_info(n_layers: number, n_heads: number, d_mlp: number): ModelInfo {
  return {
    model_name: "synthetic",
    architecture: "synthetic",
    n_layers,
    n_heads,
    n_key_value_heads: n_heads,
    d_model: 576,
    d_head: 64,
    d_mlp,
    d_vocab: 49152,
    n_ctx: 8192,
    dtype: "float32",
    weights_sha256: "",
    capabilities: { channels: [], operations: ["zero", "scale"], component_kinds: ["attn", "head", "mlp", "neuron"], missing: [], has_chat_template: false },
  };
}

const tensor = (shape: number[], values: HostTensor["values"]): HostTensor => ({ shape, values });

function neuron_codes(info: ModelInfo, random: () => number): Int8Array {
  const codes = new Int8Array(info.n_layers * info.d_mlp);
  for (let layer = 0; layer < info.n_layers; layer++) {
    const spread = 0.75 + 0.6 * random();
    const sizes = Float32Array.from({ length: info.d_mlp }, () => Math.exp(spread * gauss(random)));
    const max = sizes.reduce((a, b) => Math.max(a, b), 0);
    for (let i = 0; i < info.d_mlp; i++) {
      codes[layer * info.d_mlp + i] = Math.round(127 * Math.sqrt(sizes[i]! / max)) * (random() < 0.45 ? -1 : 1);
    }
  }
  return codes;
}

function attention(info: ModelInfo, pos: number, random: () => number): Uint8Array {
  const n_keys = pos + 1;
  const rows = new Uint8Array(info.n_layers * info.n_heads * n_keys);
  for (let row = 0; row < info.n_layers * info.n_heads; row++) {
    const weights = Array.from({ length: n_keys }, (_, k) => Math.exp(2.2 * gauss(random)) * (k === 0 ? 6 : 1));
    const sum = weights.reduce((a, b) => a + b, 0);
    weights.forEach((w, k) => (rows[row * n_keys + k] = Math.round((255 * w) / sum)));
  }
  return rows;
}

/** One step; `codes` may be given so that a huge model need not be drawn at random each time. */
export function make_step(info: ModelInfo, pos: number, text: string, seed: number, codes?: Int8Array): StepRecord {
  const random = random_source(seed * 7919 + pos);
  const { n_layers, n_heads } = info;
  const heads = Float32Array.from({ length: n_layers * n_heads }, (_, i) => (1 + i / 60) * Math.exp(0.7 * gauss(random)));
  const signed = (n: number, size: number): Float32Array =>
    Float32Array.from({ length: n }, () => size * gauss(random) * Math.exp(0.9 * gauss(random)));
  const k = 512;
  const words = [" Mary", " the", " his", " John", " her"];
  return {
    pos,
    seq: pos,
    token_id: pos,
    text,
    chosen_id: 1,
    chosen_text: null,
    generated: pos > 13,
    top_tokens: words.map((word, i) => ({ token_id: i, text: word, prob: [0.923, 0.022, 0.006, 0.005, 0.005][i]! })),
    logprob: null,
    entropy: null,
    revision: 0,
    tensors: {
      neurons: tensor([n_layers, info.d_mlp], codes ?? neuron_codes(info, random)),
      neurons_scale: tensor([n_layers], Float32Array.from({ length: n_layers }, () => 1 + 4 * random())),
      heads: tensor([n_layers, n_heads], heads),
      attention: tensor([n_layers, n_heads, pos + 1], attention(info, pos, random)),
      residual: tensor([n_layers + 1], Float32Array.from({ length: n_layers + 1 }, (_, i) => 4 * Math.exp(i * 0.12))),
      attn_out: tensor([n_layers], Float32Array.from({ length: n_layers }, (_, i) => 1 + i * 0.4 * random())),
      mlp_out: tensor([n_layers], Float32Array.from({ length: n_layers }, (_, i) => 1 + i * 0.6 * random())),
      direct_heads: tensor([n_layers, n_heads], signed(n_layers * n_heads, 0.15)),
      direct_mlps: tensor([n_layers], signed(n_layers, 0.4)),
      direct_bias: tensor([n_layers], new Float32Array(n_layers)),
      direct_neuron_layer: tensor([k], Uint16Array.from({ length: k }, () => Math.floor(n_layers * Math.sqrt(random())))),
      direct_neuron_index: tensor([k], Uint32Array.from({ length: k }, () => Math.floor(info.d_mlp * random()))),
      direct_neuron_value: tensor([k], signed(k, 0.1)),
    },
    lens_texts: null,
    direct_target_id: 1,
    direct_distractor_id: null,
    detail_dropped: false,
  };
}

export function make_codes(info: ModelInfo, seed: number): Int8Array {
  return neuron_codes(info, random_source(seed));
}

export const WORDS = ["When", " Mary", " and", " John", " went", " to", " the", " store", ",", " John", " gave", " a", " drink", " to"];

export function make_chip(pos: number): TokenChip {
  return { pos, token_id: pos, text: WORDS[pos % WORDS.length]!, generated: pos >= WORDS.length, logprob: null, entropy: null };
}
