// Whether a recorded step fits the model and the run that its file names: what a server is trusted with, a
// stranger's file is not.
import type { DecodedStep, HostTensor, TensorName } from "../protocol/decode";
import type { ModelInfo, RunSnapshot } from "../protocol/generated";
import { live_effects } from "../store/live_causal";
import { has_component } from "../store/query";

type Shape = Pick<ModelInfo, "n_layers" | "n_heads" | "d_mlp">;
type Values = HostTensor["values"];
type ValuesOf = abstract new (...args: never[]) => Values;

const STRONGEST_KEYS = 64;
const MAX_LISTED = 4096;

interface Expected {
  shape: readonly number[];
  of: readonly ValuesOf[];
}

/** Shape and type of the tensors whose cells the page reads by layer and index; none: any size within the model's. */
function expected(name: TensorName, info: Shape, n_keys: number): Expected | null {
  const { n_layers, n_heads, d_mlp } = info;
  const floats = (...shape: number[]): Expected => ({ shape, of: [Float32Array] });
  const whole = (...shape: number[]): Expected => ({ shape, of: [Int32Array] });
  switch (name) {
    case "neurons": case "difference_neurons": return { shape: [n_layers, d_mlp], of: [Int8Array] };
    case "attention": return { shape: [n_layers, n_heads, n_keys], of: [Uint8Array] };
    case "difference_attention": return floats(n_layers, n_heads, n_keys);
    case "attention_keys": return { shape: [n_layers, n_heads, n_keys], of: [Uint16Array, Uint32Array] };
    case "attention_rest": return { shape: [n_layers, n_heads], of: [Uint8Array] };
    case "heads": case "direct_heads": case "difference_heads": case "difference_direct_heads":
      return floats(n_layers, n_heads);
    case "residual": case "difference_residual": return floats(n_layers + 1);
    case "neurons_scale": case "attn_out": case "mlp_out": case "direct_mlps": case "direct_bias":
    case "difference_neurons_scale": case "difference_attn_out": case "difference_mlp_out":
    case "difference_direct_mlps": case "lens_prob": case "lens_entropy": case "lens_logprob": return floats(n_layers);
    case "lens_token_id": case "lens_rank": return whole(n_layers);
    case "direct_ends": return floats(3);
    default: return null;
  }
}

const same_shape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);
const all_below = (values: Values | undefined, limit: number): boolean =>
  !values || values.every((value) => Number.isInteger(value) && value >= 0 && value < limit);
const as_long = (...tensors: (HostTensor | undefined)[]): boolean =>
  new Set(tensors.map((tensor) => tensor?.values.length)).size === 1;

/** Why `step` does not belong to this run of this model; null where it does. */
export function step_problem(step: DecodedStep, info: ModelInfo, run: RunSnapshot): string | null {
  const at = `Position ${step.pos}`;
  if (step.run_id !== run.run_id) return `${at} is of another run.`;
  // A run that was saved while it went on may have made a few tokens since its snapshot.
  if (step.pos > info.n_ctx || step.pos > run.tokens.length + 4096) return `${at} lies outside the text.`;
  const lost = step.base_seq >= 0 ? "it is not whole" : "";
  if (lost || step.lost.length > 0) return `${at} is damaged: ${step.lost.join(", ") || lost}.`;
  const long = step.tensors.attention_keys !== undefined;
  const n_keys = long ? STRONGEST_KEYS : step.pos + 1;
  for (const [name, tensor] of Object.entries(step.tensors) as [TensorName, HostTensor][]) {
    const want = expected(name, info, n_keys);
    const fits = want ? same_shape(tensor.shape, want.shape) && want.of.some((kind) => tensor.values instanceof kind)
      : tensor.values.length <= MAX_LISTED + info.n_layers * info.n_heads;
    if (!fits) return `${at} does not fit the model: ${name} is [${tensor.shape.join(", ")}].`;
  }
  return index_problem(step, info, at);
}

function index_problem(step: DecodedStep, info: ModelInfo, at: string): string | null {
  const { attention_keys, direct_neuron_layer, direct_neuron_index, direct_neuron_value } = step.tensors;
  const { causal_kind, causal_layer, causal_index, causal_attributed, causal_measured } = step.tensors;
  const fits = all_below(attention_keys?.values, step.pos + 1) && all_below(direct_neuron_layer?.values, info.n_layers)
    && all_below(direct_neuron_index?.values, info.d_mlp)
    && as_long(direct_neuron_layer, direct_neuron_index, direct_neuron_value)
    && as_long(causal_kind, causal_layer, causal_index, causal_attributed, causal_measured)
    && (live_effects(step) ?? []).every(({ component }) => has_component(info, component))
    && (step.lens_texts === null || step.lens_texts.length === info.n_layers);
  return fits ? null : `${at} names components or tokens that do not exist.`;
}
