// A step as it is in the other run, or this run's minus the other's: what the picture and the tables show instead.
import type { ComparisonAnswer } from "../protocol/questions";
import { acting_differences, direct_differences } from "./differences";
import { no_values, pair_unit } from "./signed_values";
import type { DisplayChannel, HostTensor, SignedValues, StepRecord } from "./types";

type Tensors = StepRecord["tensors"];

/** Arrays made of an answer, once. */
interface Made {
  other: Tensors | null;
  signed: Partial<Record<DisplayChannel, SignedValues>>;
}
const MADE = new WeakMap<ComparisonAnswer, Made>();

function made_of(answer: ComparisonAnswer): Made {
  let made = MADE.get(answer);
  if (!made) MADE.set(answer, (made = { other: null, signed: {} }));
  return made;
}

/** `step` with the other run's values, or with what this run has more than the other. */
export function compared_step(
  step: StepRecord, answer: ComparisonAnswer, view: "other" | "difference", channel: DisplayChannel,
): StepRecord {
  const shared = { direct_target_id: answer.target_id, direct_distractor_id: answer.distractor_id };
  if (view === "difference") {
    return {
      ...step, ...shared, compared: view, lens_texts: null, tensors: answer.difference,
      signed: difference_values(answer, channel),
    };
  }
  const made = made_of(answer);
  made.other ??= other_tensors(answer);
  return {
    ...step, ...shared, compared: view, text: answer.other_tokens[step.pos] ?? step.text, tensors: made.other,
    top_tokens: answer.other_top_tokens, logprob: answer.other_logprob, entropy: answer.other_entropy,
    lens_texts: answer.other_lens_texts,
  };
}

const WAITING: Record<"other" | "difference", SignedValues> = {
  other: no_values("value", { title: "The other run", unit: "", note: "Not computed for this token yet." }),
  difference: no_values("value", { title: "This run − the other", unit: "", note: "Not computed for this token yet." }),
};

/** `step` where its comparison has not come: nothing of this run may be taken for it. */
export function waiting_step(step: StepRecord, view: "other" | "difference"): StepRecord {
  return { ...step, compared: view, tensors: {}, lens_texts: null, top_tokens: [], signed: WAITING[view] };
}

function other_tensors({ other }: ComparisonAnswer): Tensors {
  const tensors: Tensors = { ...other };
  if (other.neurons) Object.assign(tensors, companded(other.neurons));
  if (other.attention) {
    const values = Uint8Array.from(other.attention.values, (weight) => Math.round(255 * weight));
    tensors.attention = { shape: other.attention.shape, values };
  }
  return tensors;
}

/** Exact activations [n_layers, d_mlp] as a step brings them: `compand_int8` of the server. */
export function companded(neurons: HostTensor): Pick<Tensors, "neurons" | "neurons_scale"> {
  const [n_layers = 0, d_mlp = 0] = neurons.shape;
  const codes = new Int8Array(n_layers * d_mlp);
  const scales = new Float32Array(n_layers);
  for (let layer = 0; layer < n_layers; layer++) {
    const from = layer * d_mlp;
    let max = 0;
    for (let i = from; i < from + d_mlp; i++) max = Math.max(max, Math.abs(neurons.values[i]!));
    scales[layer] = max;
    for (let i = from; max > 0 && i < from + d_mlp; i++) {
      const value = neurons.values[i]!;
      codes[i] = Math.sign(value) * Math.round(127 * Math.sqrt(Math.abs(value) / max));
    }
  }
  return { neurons: { shape: neurons.shape, values: codes }, neurons_scale: { shape: [n_layers], values: scales } };
}

const TITLE = "This run − the other";
const SAME = "Where there is no colour both runs are the same.";

function difference_values(answer: ComparisonAnswer, channel: DisplayChannel): SignedValues {
  const { difference, other } = answer;
  const made = made_of(answer);
  return (made.signed[channel] ??= channel !== "direct_logit"
    ? acting_differences(difference, {
        title: TITLE,
        note: `Orange: more in this run; blue: more in the other. ${SAME} Dots on the stream: how far its norms are apart.`,
      })
    : direct_differences(difference, {
        title: "Direct contribution, this run − the other", unit: pair_unit(answer),
        note: `Orange: adds more in this run; blue: more in the other. The 64 neurons that differ most. ${SAME}`,
      }, difference.neurons?.shape[1] ?? other.neurons?.shape[1]));
}
