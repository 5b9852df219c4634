// What is shown of a step: its own values, with the direct contributions of the question asked; or another run's, or
// what was measured.
import type { OverviewAnswer } from "../protocol/questions";
import { causal_values } from "./causal";
import { compared_step, waiting_step } from "./compared_step";
import type { Store } from "./store";
import { twin_difference } from "./twin";
import type { DisplayChannel, StepRecord } from "./types";

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

/**
 * `step` as it is to be shown: with the direct effects on the asked metric where "why" is looked at and asked about
 * this token, with what was measured where the causal map is looked at, and of the other run or the clean twin where
 * that is.
 */
export function explained_step(store: Store, step: StepRecord | undefined): StepRecord | undefined {
  if (!step || step.signed) return step; // a file's: it has no other side
  const { analysis } = store;
  const channel = store.display_channel.value;
  const info = store.model_info.value;
  if (channel === "causal") return info ? { ...step, signed: causal_values(analysis.causal, step.pos, info) } : step;
  const view = analysis.comparison.view.value;
  if (view === "twin") return twin_difference(step, channel);
  if (view !== "own") {
    const answer = analysis.comparison.answers.value.get(step.pos);
    return answer ? compared_step(step, answer, view, channel) : waiting_step(step, view);
  }
  const answer = analysis.overview.slot.value.answer;
  if (!answer || answer.metric.pos !== step.pos || !analysis.walk.is_open.value) return step;
  return {
    ...step,
    direct_target_id: answer.metric.target_id,
    direct_distractor_id: answer.metric.distractor_id,
    tensors: { ...step.tensors, ...direct_tensors(answer) },
  };
}

/** The colours of what is shown: those of contributions for everything that is signed. */
export function shown_colours(store: Store): DisplayChannel {
  const view = store.analysis.comparison.view.value;
  return view === "difference" || view === "twin" ? "direct_logit" : store.display_channel.value;
}
