// The direct contributions of the question asked, in place of those that came with the step.
import type { OverviewAnswer } from "../protocol/questions";
import type { Store } from "./store";
import type { StepRecord } from "./types";

const TENSORS = new WeakMap<OverviewAnswer, StepRecord["tensors"]>();

function direct_tensors(answer: OverviewAnswer): StepRecord["tensors"] {
  let tensors = TENSORS.get(answer);
  if (!tensors) {
    const n = answer.neurons.length;
    const of = (values: number[]): { shape: number[]; values: Int32Array } => ({ shape: [n], values: Int32Array.from(values) });
    tensors = {
      direct_heads: answer.direct_heads,
      direct_mlps: answer.direct_mlps,
      direct_bias: answer.direct_bias,
      direct_neuron_layer: of(answer.neurons.map((neuron) => neuron.layer)),
      direct_neuron_index: of(answer.neurons.map((neuron) => neuron.index)),
      direct_neuron_value: answer.neuron_values,
    };
    TENSORS.set(answer, tensors);
  }
  return tensors;
}

/** `step` with the direct effects on the asked metric, where "why" is looked at and asked about this token. */
export function explained_step(store: Store, step: StepRecord | undefined): StepRecord | undefined {
  const { analysis } = store;
  const answer = analysis.overview.slot.value.answer;
  if (!step || !answer || answer.metric.pos !== step.pos || !analysis.walk.is_open.value) return step;
  return {
    ...step,
    direct_target_id: answer.metric.target_id,
    direct_distractor_id: answer.metric.distractor_id,
    tensors: { ...step.tensors, ...direct_tensors(answer) },
  };
}
