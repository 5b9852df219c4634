// Arrays of differences between two runs as signed values: of what acts, and of direct contributions.
import { attention_terms } from "./query";
import type { HostTensor, SignedValues, StepRecord } from "./types";

type Tensors = StepRecord["tensors"];
type Words = Pick<SignedValues, "title" | "note">;

function floats(tensor: HostTensor | undefined): Float32Array | null {
  return tensor?.values instanceof Float32Array ? tensor.values : null;
}

/** Of all cells: exact as an answer brings them, companded as a step does. */
function all_neurons({ neurons, neurons_scale }: Tensors): SignedValues["neurons"] {
  const [exact, scales] = [floats(neurons), floats(neurons_scale)];
  if (exact) return { at: null, values: exact };
  return neurons?.values instanceof Int8Array && scales ? { at: null, values: neurons.values, scales } : null;
}

/** What components do more in one run than in the other. */
export function acting_differences(tensors: Tensors, words: Words): SignedValues {
  return {
    of: "value", ...words, unit: "activation; heads and strips: norm of what is written",
    heads: floats(tensors.heads), attn: floats(tensors.attn_out), mlps: floats(tensors.mlp_out),
    neurons: all_neurons(tensors),
  };
}

/** What components contribute more in one run than in the other; of neurons the strongest, where any are listed. */
export function direct_differences(tensors: Tensors, words: Words & { unit: string }, d_mlp?: number): SignedValues {
  const { direct_neuron_layer: layers, direct_neuron_index: indices } = tensors;
  const values = floats(tensors.direct_neuron_value);
  const cell = (_: number, k: number): number => layers!.values[k]! * d_mlp! + indices!.values[k]!;
  return {
    of: "direct", ...words,
    heads: floats(tensors.direct_heads), attn: attention_terms(tensors), mlps: floats(tensors.direct_mlps),
    neurons: layers && indices && values && d_mlp !== undefined ? { at: Uint32Array.from(values, cell), values } : null,
  };
}
