// The clean twin: the run beside itself without its interventions, in the same forward passes. What a step brings of it.
import { CHANNEL_TENSORS } from "../protocol/generated";
import { channel_fault } from "./capabilities";
import { acting_differences, direct_differences } from "./differences";
import { no_values } from "./signed_values";
import type { Store } from "./store";
import type { DisplayChannel, HostTensor, SignedValues, StepRecord, TensorName, TokenChip, TwinMode } from "./types";

export const TWIN_MODES: readonly TwinMode[] = ["off", "teacher_forced", "free_running"];

/** Why the run cannot have a twin here; null where it can. */
export function twin_fault(store: Store): string | null {
  return channel_fault(store, "difference", "this server has no twin");
}

/** Whether a twin runs, ran, or will run with the next run: there is something to show of it. */
export function has_twin(store: Store): boolean {
  return store.twin_mode.value !== "off" || store.twin_seen.value;
}

// ------------------------------------------------------------------------------------------ the difference

const PREFIX = "difference_";
const DIFFERENCES = CHANNEL_TENSORS.difference.map((name) => [name, name.slice(PREFIX.length) as TensorName] as const);

interface Made {
  tensors: StepRecord["tensors"];
  signed: Partial<Record<DisplayChannel, SignedValues>>;
}
/** By the first of them: all come at once. */
const MADE = new WeakMap<HostTensor, Made>();

/** The difference arrays of a step under the names of what they are differences of; none where it has none. */
function differences_of({ tensors }: StepRecord): Made | null {
  const found = DIFFERENCES.flatMap(([name, of]) => (tensors[name] ? [[of, tensors[name]] as const] : []));
  const [first] = found;
  if (!first) return null;
  let made = MADE.get(first[1]);
  if (!made) MADE.set(first[1], (made = { tensors: Object.fromEntries(found), signed: {} }));
  return made;
}

/** `step` with what this run has more than its clean twin, in every channel. */
export function twin_difference(step: StepRecord, channel: DisplayChannel): StepRecord {
  const shared = { ...step, compared: "difference", against: "twin", lens_texts: null } as const;
  const made = differences_of(step);
  if (!made) return { ...shared, tensors: {}, signed: step.twin ? NOT_HERE : NO_TWIN };
  const signed = (made.signed[channel] ??= channel !== "direct_logit"
    ? acting_differences(made.tensors, { title: TITLE, note: `${COLOURS} Dots on the stream: how far its norms are apart.` })
    : direct_differences(made.tensors, {
        title: `${TITLE}: direct contribution`, unit: "logits",
        note: `${COLOURS} Neurons: not computed; choose Activation for them.`,
      }));
  return { ...shared, tensors: made.tensors, signed };
}

const TITLE = "Δ this run − its clean twin";
const NO_TWIN = no_values("value", { title: TITLE, unit: "", note: "No twin ran at this token." });
const NOT_HERE = no_values("value", { title: TITLE, unit: "", note: "The differences of this token have not arrived." });
const COLOURS = "Orange: more in this run; blue: more in the clean twin. No colour: the same.";

// ------------------------------------------------------------------------------------------ along the text

/** What both rows made of one token: the prediction after position `pos`. */
export interface TwinRow {
  pos: number;
  text: string;
  chosen_text: string | null;
  /** The probability that each row gave to what this run chose; none where nothing is chosen yet. */
  prob: number | null;
  clean_prob: number | null;
  /** KL(this run || clean), nats. */
  kl: number;
  entropy: number | null;
  clean_entropy: number;
  /** The clean row's likeliest token, where this run chose another. */
  prefers_text: string | null;
}

export function twin_row(step: StepRecord | undefined): TwinRow | null {
  const twin = step?.twin;
  if (!twin) return null;
  const { pos, text, chosen_id, chosen_text, logprob, entropy } = step;
  return {
    pos, text, chosen_text, kl: twin.kl, entropy, clean_entropy: twin.entropy,
    prob: logprob === null ? null : Math.exp(logprob),
    clean_prob: chosen_id === null ? null : Math.exp(twin.logprob),
    prefers_text: chosen_id !== null && twin.prefers_id !== chosen_id ? twin.prefers_text : null,
  };
}

/** Every token at which a twin ran, in the order of the text. */
export function twin_rows(store: Store): TwinRow[] {
  return store.history.positions().flatMap((pos) => twin_row(store.history.get(pos)) ?? []);
}

/** The clean row's text: what it read and wrote itself where a twin ran, this run's tokens elsewhere. */
export function twin_tokens(store: Store): readonly TokenChip[] {
  const chips = [...store.tokens.peek()];
  const put = (pos: number, token_id: number, text: string, logprob: number | null): void => {
    if (chips[pos]?.token_id !== token_id) chips[pos] = { pos, token_id, text, generated: true, logprob, entropy: null };
  };
  let end: number | null = null;
  for (const pos of store.history.positions()) {
    const twin = store.history.get(pos)?.twin;
    if (!twin || pos >= chips.length) continue;
    put(pos, twin.token_id, twin.text, chips[pos]?.logprob ?? null);
    end = twin.chosen_id === null ? pos + 1 : null;
    if (twin.chosen_id === null) continue;
    const prob = twin.top_tokens.find(({ token_id }) => token_id === twin.chosen_id)?.prob;
    put(pos + 1, twin.chosen_id, twin.chosen_text ?? "", prob === undefined ? null : Math.log(prob));
  }
  return end === null ? chips : chips.slice(0, end);
}
