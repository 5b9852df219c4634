// What the page knows, in one place: the contract between connection (writes), scene and ui (read).
import type {
  AppliedInterventions,
  BranchPoint,
  Component,
  RunSnapshot,
  Sampling,
  TopToken,
  TwinStep,
} from "../protocol/generated";
import type { HostTensor, TensorName } from "../protocol/decode";

export type { HostTensor, TensorName } from "../protocol/decode";
export type FinishReason = NonNullable<RunSnapshot["finish_reason"]>;
/** Of the clean twin: none, fed the run's own tokens, or going on with its own. */
export type TwinMode = RunSnapshot["twin"];

/** One position of the run, as far as it has arrived; `tensors` grows when a step comes again. */
export interface StepRecord {
  pos: number;
  seq: number;
  token_id: number;
  text: string;
  chosen_id: number | null;
  chosen_text: string | null;
  generated: boolean;
  top_tokens: TopToken[];
  logprob: number | null;
  entropy: number | null;
  revision: number;
  tensors: Partial<Record<TensorName, HostTensor>>;
  lens_texts: string[] | null;
  direct_target_id: number | null;
  direct_distractor_id: number | null;
  detail_dropped: boolean;
  /** The clean row at this position; none where no twin was carried. */
  twin?: TwinStep | null;
  /** Shown on the diverging scale, in place of what the tensors say. */
  signed?: SignedValues;
  /** Not this run's values: the other run's, or this run's minus the other's (float32, nothing companded). */
  compared?: "other" | "difference";
  /** Of a difference: from the clean twin, and not from another run that was asked for (8-bit neurons, as in a step). */
  against?: "twin";
}

/** Signed numbers of components; NaN where one is not known. */
export interface SignedValues {
  /** Differences of what acts, of direct contributions; or effects that were measured. */
  of: "value" | "direct" | "causal";
  title: string;
  unit: string;
  note: string;
  /** [n_layers, n_heads] */
  heads: Float32Array | null;
  /** [n_layers], as `mlps`. */
  attn: Float32Array | null;
  mlps: Float32Array | null;
  /**
   * Of the cells `at` (layer * d_mlp + index); of all [n_layers, d_mlp] where that is null: as they are, or companded
   * as a step brings them, each layer by its own of `scales`.
   */
  neurons: { at: Uint32Array | null; values: Float32Array } | { at: null; values: Int8Array; scales: Float32Array } | null;
}

/** A token of the text: `logprob` and `entropy` are of its own choice, none where not known. */
export interface TokenChip {
  pos: number;
  token_id: number;
  text: string;
  generated: boolean;
  logprob: number | null;
  entropy: number | null;
}

export type RunState = "prefilling" | "running" | "paused" | "finished";

/** The run being watched, without its tokens and steps. */
export interface RunView {
  run_id: string;
  prompt: string;
  apply_chat_template: boolean;
  sampling: Sampling;
  n_prompt_tokens: number;
  text: string;
  state: RunState;
  finish_reason: FinishReason | null;
  revision: number;
  intervention_log: AppliedInterventions[];
  notice: string | null;
  /** Where it branched off another run; none where it did not. */
  branch: BranchPoint | null;
  twin: TwinMode;
  /** First position that the twin is carried from; none: no twin. */
  twin_from_pos: number | null;
  /** Who switched it last; null where that was before this page watched. */
  twin_author: string | null;
}

export type ConnectionState = "connecting" | "open" | "reconnecting" | "refused" | "closed";

/** What brightness means: an activation's size, a signed contribution to the logit, or a measured effect on it. */
export type DisplayChannel = "activation" | "direct_logit" | "causal";
export type ViewPreset = "three_quarter" | "front" | "time";
export type Theme = "dark" | "light";

/** Something the person should know. `fault`: an action failed; `info`: it went otherwise than expected. */
export interface Notice {
  id: number;
  level: "fault" | "info";
  text: string;
}

export function same_component(a: Component | null, b: Component | null): boolean {
  return a === b || (!!a && !!b && a.kind === b.kind && a.layer === b.layer && a.index === b.index);
}
