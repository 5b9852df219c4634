// Generated from server/livelens/protocol/messages.py by scripts/generate_protocol.py; do not edit.

export type Command =
  | StartRun
  | ForkRun
  | JoinRun
  | Pause
  | Resume
  | StepOnce
  | Stop
  | SetInterventions
  | SetTwin
  | Subscribe
  | RequestKeyframe
  | RequestPositions
  | RequestValues
  | RequestAttention
  | PutDirection
  | PutRankOneEdit
  | ShareView
  | SetSelection
  | CancelAnalysis
  | Ping
  | RequestAttribution
  | RequestPaths
  | RequestOverview
  | RequestRelevance
  | RequestEffects
  | RequestPatching
  | RequestHeadProfile
  | RequestHeadScores
  | RequestNeuronProfile
  | RequestLens
  | RequestHeadLens
  | RequestStreamPca
  | RequestAttentionEntropy
  | RequestComparison
  | RequestDirection
  | RequestRankOneEdit
  | RequestRecording;
export type Event =
  | Hello
  | RunStarted
  | RunJoined
  | Step
  | RunStateChanged
  | InterventionsApplied
  | TwinChanged
  | RunRewound
  | RunFinished
  | ValuesReady
  | AttentionReady
  | DirectionStored
  | RankOneEditStored
  | SelectionChanged
  | RunShared
  | Acknowledged
  | Pong
  | ErrorReport
  | AnalysisProgress
  | AttributionReady
  | PathsReady
  | OverviewReady
  | RelevanceReady
  | EffectsReady
  | PatchingReady
  | HeadScoresReady
  | HeadProfileReady
  | NeuronProfileReady
  | LensReady
  | HeadLensReady
  | StreamPcaReady
  | AttentionEntropyReady
  | ComparisonReady
  | DirectionReady
  | RankOneEditReady
  | RecordingPart;

/**
 * livelens protocol 1.0, websocket subprotocol livelens.v1.
 */
export interface LivelensProtocol {
  command: Command;
  event: Event;
}
/**
 * Begin a run and watch it. Any run this viewer watched before is left.
 */
export interface StartRun {
  type: "start_run";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  prompt: string;
  apply_chat_template: boolean;
  sampling: Sampling;
  /**
   * prefill, then wait for resume or step_once
   */
  start_paused: boolean;
  /**
   * sets by the position they hold from, ascending; replays a log
   */
  intervention_log: InterventionSegment[];
  /**
   * direct_logit's target; none: the token chosen at each step
   */
  target_token: string | null;
  /**
   * subtracted from the target; none: the mean logit
   */
  distractor_token: string | null;
  /**
   * carry a clean twin from the first position on
   */
  twin?: "free_running" | "off" | "teacher_forced";
}
/**
 * How the next token is chosen. Same prompt, seed, settings and intervention log: same tokens.
 */
export interface Sampling {
  /**
   * 0 is greedy
   */
  temperature: number;
  /**
   * 0 is off
   */
  top_k: number;
  /**
   * 1 is off
   */
  top_p: number;
  seed: number;
  max_new_tokens: number;
  stop_at_eos: boolean;
}
/**
 * The whole set that holds from `from_pos` on, until the next segment of a log.
 */
export interface InterventionSegment {
  /**
   * first position whose forward pass is under this set
   */
  from_pos: number;
  interventions: InterventionSpec[];
}
/**
 * What is changed in the network: data, never code. The interventions of a set act in the order of its list.
 *
 *     components: heads, neurons, whole attn or mlp layers: `zero scale mean resample`; neurons (value `amount`), or
 *     whole layers with a direction (what they write is `amount` times it): `set`; heads: `attention_*`. `stream`
 *     and a direction: `add_direction project_out`. An edit, which says of which matrix it is
 *     (the component that it belongs to may be named, for who lists it): `rank_one_edit`.
 */
export interface InterventionSpec {
  /**
   * chosen by the viewer
   */
  intervention_id: string;
  /**
   * `zero` is `scale` by 0; see Capabilities.operations
   */
  operation:
    | "add_direction"
    | "attention_knockout"
    | "attention_set"
    | "attention_turn"
    | "mean"
    | "project_out"
    | "rank_one_edit"
    | "resample"
    | "scale"
    | "set"
    | "zero";
  /**
   * none where `stream` says the place
   */
  components: Component[];
  /**
   * the factor of `scale`, the value of `set`, the strength of `add_direction` and of `rank_one_edit`; else ignored
   */
  amount: number;
  /**
   * a listed but disabled intervention changes nothing
   */
  enabled: boolean;
  positions?: Positions;
  /**
   * of mean and resample
   */
  reference?: Reference | null;
  /**
   * a direction that the server holds
   */
  direction_id?: string | null;
  /**
   * of add_direction's amount
   */
  unit?: "direction" | "norm" | "stream";
  /**
   * of add_direction, project_out
   */
  stream?: StreamPlace[];
  /**
   * of attention_knockout, _set, _turn
   */
  attention?: AttentionEdit | null;
  /**
   * of rank_one_edit: an edit that the server holds
   */
  edit_id?: string | null;
}
/**
 * Something with weights: a head `L12H3`, a neuron `L7N1404`, a layer's `L5.attn` or `L5.mlp`.
 */
export interface Component {
  kind: "attn" | "head" | "mlp" | "neuron";
  /**
   * 0 .. n_layers-1
   */
  layer: number;
  /**
   * head_index or neuron index in the layer; 0 for attn and mlp
   */
  index: number;
}
/**
 * At which of the positions that its set holds for an intervention acts.
 *
 *     `from_now`: at all of them. `range`: from_pos to to_pos - 1. `all`: every position of the run, so its set
 *     must hold from 0. `tokens`: only where the token read there is one of token_ids. A range (or `all`) that
 *     begins before the position from which the set holds needs recompute and is refused without it, unless the
 *     same intervention was in force there already.
 */
export interface Positions {
  scope?: "all" | "from_now" | "range" | "tokens";
  /**
   * of `range`: the first position
   */
  from_pos?: number;
  /**
   * of `range`: exclusive; none: without an end
   */
  to_pos?: number | null;
  /**
   * of `tokens`
   */
  token_ids?: number[];
}
/**
 * Where `mean` and `resample` take their values from; computed once, when the set is put in force.
 *
 *     `prompt`: this run's prompt, no intervention in force. `text`: other prompts, tokenised by the server, no
 *     intervention in force. `run`: another run as it was computed, under its own interventions. `mean` is over all
 *     positions (`pooled`), the first included, or position by position over the texts that have it. `resample`
 *     takes the value at the same position, or at `pos`. Where the reference has no such position (it is shorter
 *     than the run) the component is left as it is.
 */
export interface Reference {
  source?: "prompt" | "run" | "text";
  /**
   * of `text`: one for resample, any number for mean
   */
  texts?: string[];
  /**
   * to each text, as to a prompt
   */
  apply_chat_template?: boolean;
  /**
   * of `run`
   */
  run_id?: string | null;
  /**
   * of mean: over all positions; false: position by position
   */
  pooled?: boolean;
  /**
   * of resample: the position to take; none: the matching one
   */
  pos?: number | null;
}
/**
 * A place in the residual stream: before a layer or after it; after a layer is before the next.
 */
export interface StreamPlace {
  layer: number;
  /**
   * before the layer, or after it
   */
  hook?: "resid_post" | "resid_pre";
}
/**
 * What is written into heads' rows between softmax and value. Keys after the query are passed over.
 *
 *     knockout: the weights of `keys` become zero, and the others are scaled to the sum the row had (`renormalise`)
 *     or not. set: `keys` get `weights` (empty: equal shares of one); the rest of the row becomes zero (`rest`
 *     zero), with the weights divided by their sum (`renormalise`) or as they stand, or is scaled so that the row
 *     sums to one (`rest` scaled; weights then sum to at most one). turn: what the row has on `from_keys` (empty:
 *     all of the row) moves to `keys`, shared in proportion to `weights`. A row of which no named key is visible
 *     stays as it is.
 */
export interface AttentionEdit {
  /**
   * key positions
   */
  keys: number[];
  /**
   * of set and turn: one for each key, not negative
   */
  weights?: number[];
  /**
   * of turn: key positions
   */
  from_keys?: number[];
  /**
   * of set: what becomes of other keys
   */
  rest?: "scaled" | "zero";
  renormalise?: boolean;
}
/**
 * Begin a run that branches off another one, and watch it: answered with `run_started`.
 *
 *     The other run's tokens before `from_pos` are kept, and all of its prompt; the rest is generated anew. What
 *     both runs have in common is not computed again where the server still holds it.
 */
export interface ForkRun {
  type: "fork_run";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * first token that may differ from the other run's
   */
  from_pos: number;
  /**
   * put there instead; of a text of several tokens the first
   */
  token_text: string | null;
  /**
   * none: the other run's, its draws continued
   */
  sampling: Sampling | null;
  /**
   * the set from position from_pos - 1 on, which chooses that token; none: the other run's log
   */
  interventions: InterventionSpec[] | null;
  /**
   * wait for resume or step_once
   */
  start_paused: boolean;
  /**
   * carry a clean twin of the branch; the other run's is its own
   */
  twin?: "free_running" | "off" | "teacher_forced";
}
/**
 * Watch a run that exists: by its link, or after a reload or a lost connection.
 */
export interface JoinRun {
  type: "join_run";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * newest seq the viewer holds; -1: send everything
   */
  last_seq: number;
  /**
   * only goes along, see `run_shared`: the viewers it shares with are not told
   */
  follows?: boolean;
}
/**
 * Hold the run at the next token boundary; harmless when it is paused.
 */
export interface Pause {
  type: "pause";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * Go on; harmless when it is running.
 */
export interface Resume {
  type: "resume";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * Make exactly one token, then be paused.
 */
export interface StepOnce {
  type: "step_once";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * End the run, keeping its text; harmless when it has ended.
 */
export interface Stop {
  type: "stop";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * Replace the run's whole intervention set; the last one wins.
 *
 *     `from_now`: holds from the next position on, the KV cache keeps what earlier positions computed.
 *     `recompute`: positions from `recompute_from` on are run again under the set; the tokens generated so
 *     far are kept, or with `restart` dropped and generated anew with the same seed.
 */
export interface SetInterventions {
  type: "set_interventions";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  interventions: InterventionSpec[];
  mode: "from_now" | "recompute";
  /**
   * first position to run again; only for recompute
   */
  recompute_from: number;
  /**
   * drop the generated tokens; only for recompute
   */
  restart: boolean;
}
/**
 * Carry the run's clean twin from now on, or no longer; answered with `twin_changed`.
 *
 *     The twin is a second row of the same batch on which no intervention acts. Its past is computed first, where an
 *     intervention or another text has made it different; the run's own tokens and cache stay as they are.
 *     `teacher_forced`: fed the run's tokens. `free_running`: begins with the run's text so far and goes on with its own
 *     tokens, chosen with the run's settings and seed. Positions before `from_pos` have no twin.
 */
export interface SetTwin {
  type: "set_twin";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  mode: "free_running" | "off" | "teacher_forced";
}
/**
 * Which channels this viewer wants from now on; only what some viewer wants is computed.
 */
export interface Subscribe {
  type: "subscribe";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  channels: (
    "attention" | "causal_effects" | "difference" | "direct_logit" | "heads" | "logit_lens" | "neurons" | "residual"
  )[];
  /**
   * false: a hidden tab, tokens only; one keyframe follows when true again
   */
  visible: boolean;
}
/**
 * The viewer lost the chain of differences: the next step comes whole.
 */
export interface RequestKeyframe {
  type: "request_keyframe";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * Send the steps of these positions again, whole, in the subscribed channels.
 */
export interface RequestPositions {
  type: "request_positions";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  positions: number[];
}
/**
 * Exact float32 history of components: what the inspector shows.
 */
export interface RequestValues {
  type: "request_values";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  components: Component[];
  from_pos: number;
  /**
   * exclusive; none: up to the newest
   */
  to_pos: number | null;
}
/**
 * One head's exact attention row.
 */
export interface RequestAttention {
  type: "request_attention";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  head_index: number;
  query_pos: number;
}
/**
 * Give the server a direction to steer with; answered with `direction_stored`. Equal vectors are one direction.
 */
export interface PutDirection {
  type: "put_direction";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  name: string;
  /**
   * float32 little-endian [d_model]
   */
  data: Uint8Array;
  /**
   * what made it, for who sees it later
   */
  recipe?: DirectionRecipe;
  /**
   * the layer after which it was read, where that is known
   */
  layer?: number | null;
}
/**
 * Give the server a rank-1 edit; answered with `rank_one_edit_stored`. Equal edits of one matrix are one.
 */
export interface PutRankOneEdit {
  type: "put_rank_one_edit";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  name: string;
  /**
   * of which matrix, and what made it
   */
  recipe: RankOneRecipe;
  /**
   * float32 little-endian [d_in]
   */
  key: Uint8Array;
  /**
   * float32 little-endian [d_model]
   */
  value: Uint8Array;
}
/**
 * Look at the same as the viewers who gave this key: each is told what another selects and which run it goes to.
 *
 *     Answered with `acknowledged`; `run_shared` and `selection_changed` follow where the group looks at something
 *     already. Nothing is kept once the last of them has gone.
 */
export interface ShareView {
  type: "share_view";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * none: share no longer
   */
  key: string | null;
}
/**
 * What this viewer looks at, for the viewers it shares with; the last one wins.
 */
export interface SetSelection {
  type: "set_selection";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * none: nothing is selected
   */
  component: Component | null;
  /**
   * of the run that is shared; none: the newest
   */
  pos: number | null;
}
/**
 * Give up a question; harmless when it was answered.
 */
export interface CancelAnalysis {
  type: "cancel_analysis";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * request_id of the question
   */
  cancels: number;
}
/**
 * Is the server there? Answered with `pong`.
 */
export interface Ping {
  type: "ping";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
}
/**
 * Who fed a node (`incoming`), or whom it fed (`outgoing`), in the model linearised at this run.
 */
export interface RequestAttribution {
  type: "request_attribution";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  node: string;
  direction: "incoming" | "outgoing";
  /**
   * for a head's query and key edges: the key looked at; none: the strongest
   */
  key_pos: number | null;
  /**
   * strongest edges of each part to send
   */
  n_edges: number;
}
/**
 * What is explained: `logit(target) - logit(distractor)` of the prediction after `pos`.
 */
export interface MetricQuestion {
  /**
   * position whose prediction is explained
   */
  pos: number;
  /**
   * token id, or its text; none: the token that followed
   */
  target: number | string | null;
  /**
   * token id, or its text; none: the likeliest other token
   */
  distractor: number | string | null;
  /**
   * subtract the mean of all logits instead of a distractor
   */
  against_mean: boolean;
}
/**
 * The strongest paths from the input tokens to this logit.
 */
export interface RequestPaths {
  type: "request_paths";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  n_nodes: number;
  /**
   * leave out edges below this fraction of the metric
   */
  threshold: number;
}
/**
 * Direct effects of every component on the metric, and the metric layer by layer.
 */
export interface RequestOverview {
  type: "request_overview";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  n_neurons: number;
}
/**
 * How much each token of the text matters for the metric.
 */
export interface RequestRelevance {
  type: "request_relevance";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  method: "frozen" | "gradient_x_input" | "integrated_gradients";
}
/**
 * Measured, not attributed: ablate components one at a time at the metric's position, run, compare.
 */
export interface RequestEffects {
  type: "request_effects";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  scope: "attn" | "heads" | "listed" | "mlps" | "neurons";
  /**
   * for `listed`
   */
  components: Component[];
  /**
   * `mean`: over the positions before this one
   */
  ablation: "mean" | "zero";
  /**
   * ablate at every position up to it, not only there
   */
  everywhere: boolean;
  /**
   * for `neurons`: the strongest so many
   */
  n_neurons: number;
}
/**
 * What of this run restores the metric when it is put into the run of another prompt, place by place.
 */
export interface RequestPatching {
  type: "request_patching";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: MetricQuestion;
  /**
   * takes the prompt's place; as many tokens
   */
  corrupted_prompt: string;
  /**
   * as the run's prompt was
   */
  apply_chat_template: boolean;
}
/**
 * What one head does: where it looks in this run, what its weights read and write.
 */
export interface RequestHeadProfile {
  type: "request_head_profile";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  head_index: number;
  /**
   * whose reading is put into words; none: the last
   */
  query_pos: number | null;
  /**
   * a token to be among `reads` however little the query looks at it
   */
  key_pos: number | null;
}
/**
 * Every head's pattern scores, measured once per model on repeated random tokens: the head finder.
 */
export interface RequestHeadScores {
  type: "request_head_scores";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
}
/**
 * What one neuron does: what drives it, what it promotes, where in this run it is loud.
 */
export interface RequestNeuronProfile {
  type: "request_neuron_profile";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  neuron_index: number;
  /**
   * further runs to look through, each id a key; unknown: skipped
   *
   * Items: names one run; unguessable, so a link is a key
   */
  past_run_ids: string[];
}
/**
 * The logit lens of one position: after each layer, the likeliest tokens, and where the target stands.
 */
export interface RequestLens {
  type: "request_lens";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * position whose prediction is looked into
   */
  pos: number;
  /**
   * token id, or its text; none: the token that followed, at the end of the text the likeliest
   */
  target: number | string | null;
  /**
   * strongest tokens to name
   */
  n_tokens: number;
}
/**
 * What each head (and MLP) writes at one position, read as logits: what it promotes, and the target's share.
 */
export interface RequestHeadLens {
  type: "request_head_lens";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * position whose prediction is looked into
   */
  pos: number;
  /**
   * token id, or its text; none: the token that followed, at the end of the text the likeliest
   */
  target: number | string | null;
  /**
   * strongest tokens to name
   */
  n_tokens: number;
}
/**
 * The residual stream of every token and layer along its three principal axes over the whole run.
 */
export interface RequestStreamPca {
  type: "request_stream_pca";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * `rms`: each stream vector by its own root mean square, as a norm reads it; `none`: as it is
   */
  scaling: "none" | "rms";
  /**
   * so many first positions do not shape the axes (an attention sink drowns the others)
   */
  skip_first: number;
}
/**
 * How widely every head looks from one position.
 */
export interface RequestAttentionEntropy {
  type: "request_attention_entropy";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
}
/**
 * Every channel at one position, of this run and of another: of other text, or without the interventions.
 *
 *     Positions are aligned from the start. Where the other prompt has as many tokens as the run's, what was
 *     generated since follows it; else the other run is its prompt alone.
 */
export interface RequestComparison {
  type: "request_comparison";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
  /**
   * takes the prompt's place in the other run; none: the run's own text
   */
  other_prompt: string | null;
  /**
   * to other_prompt
   */
  apply_chat_template: boolean;
  /**
   * the other run has none of the run's interventions; else all of them, by position
   */
  without_interventions: boolean;
  /**
   * of direct_logit and the lens, in both: token id, or its text, of several tokens the first; none: the run's next token
   */
  target: number | string | null;
  /**
   * none: the mean of all logits
   */
  distractor: number | string | null;
}
/**
 * Make a direction of the residual stream; the server holds it from then on, for `direction_id`.
 */
export interface RequestDirection {
  type: "request_direction";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  recipe: DirectionRecipe;
  /**
   * empty: the server's own words
   */
  name: string;
}
/**
 * What makes a direction.
 *
 *     contrast: mean of resid_post at the last token over `positive` minus that over `negative`, at least two each;
 *     the layer is the one asked for, or that which separates held-out prompts best. neuron, head: what
 *     `index` of `layer` writes: a neuron's output row, what a head wrote at `pos` of the run, or on average over
 *     the run. unembed: a token's unembedding row. pca: axis number `index` of the run's resid_post at `layer`,
 *     its first position left out. put: a viewer's own vector.
 */
export interface DirectionRecipe {
  kind: "contrast" | "head" | "neuron" | "pca" | "put" | "unembed";
  /**
   * none: contrast chooses; unembed has none
   */
  layer?: number | null;
  /**
   * head_index, neuron index, or number of the axis, 0 the strongest
   */
  index?: number;
  /**
   * of head: one position of the run; none: all
   */
  pos?: number | null;
  /**
   * of unembed: token id, or its text
   */
  token?: number | string | null;
  /**
   * of contrast: what is steered towards
   */
  positive?: string[];
  /**
   * of contrast: what is steered away from
   */
  negative?: string[];
}
/**
 * Make a rank-1 edit; the server holds it from then on, for `edit_id`. It is not put in force.
 */
export interface RequestRankOneEdit {
  type: "request_rank_one_edit";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  recipe: RankOneRecipe;
  /**
   * empty: the server's own words
   */
  name: string;
}
/**
 * What makes a rank-1 edit: of which matrix, and how its key and value were found.
 *
 *     put: a viewer's own key and value. rome: after Meng et al. 2022, "Locating and Editing Factual Associations in
 *     GPT", on the model with no intervention in force. The key k* is what enters the matrix at the subject's last
 *     token, the mean over the prompt alone and behind each of `prefixes`; the edit's key is `C^-1 k*`, scaled so that
 *     the prompt's own has 1 along it, and C the uncentred second moment of what enters the matrix over `covariance`
 *     plus `ridge` times the mean of its diagonal. none: C is the identity. The value is what, added to what the matrix
 *     writes at the subject's last token, makes `wanted` likely after the prompt: Adam's steps on
 *     `-log P(wanted) / its tokens + kl_factor * KL(clean || edited, next token after essence) + weight_decay *
 *     |value| / |what the matrix writes there|^2`, mean over the prompt and its prefixed forms, the value's norm held to
 *     `clamp` times that of what the matrix writes; it ends before `n_steps` when the loss is below 0.05.
 */
export interface RankOneRecipe {
  kind: "put" | "rome";
  /**
   * mlp_out: W_out of a layer's MLP; ov: W_O of its attention
   */
  matrix: "mlp_out" | "ov";
  layer: number;
  /**
   * of ov: only this head's rows of W_O; none: all heads
   */
  head_index?: number | null;
  /**
   * of rome; empty: the run's own tokens up to `to_pos`
   */
  prompt?: string;
  /**
   * of the run: the position whose prediction is edited; none: the last
   */
  to_pos?: number | null;
  /**
   * of rome: its last occurrence in the prompt; its last token is taken
   */
  subject?: string;
  /**
   * of rome: that token's position, in place of subject
   */
  key_pos?: number | null;
  /**
   * of rome: token id, or a text of one token or more (teacher-forced)
   */
  wanted?: number | string | null;
  /**
   * put before the prompt
   */
  prefixes?: string[];
  /**
   * built_in: some sentences of the server's own; prompt: the prompt's own positions
   */
  covariance?: "built_in" | "none" | "prompt" | "texts";
  /**
   * of `texts`
   */
  covariance_texts?: string[];
  ridge?: number;
  n_steps?: number;
  learning_rate?: number;
  weight_decay?: number;
  clamp?: number;
  /**
   * a text with the subject in it, whose next token is to stay
   */
  essence?: string;
  kl_factor?: number;
  /**
   * empty: some of the server's own
   */
  spillover_prompts?: string[];
}
/**
 * The next part of the run's recording: first with `from_pos` 0, then with the `next_pos` of the part before.
 */
export interface RequestRecording {
  type: "request_recording";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * first position to send; 0 brings the file's beginning too
   */
  from_pos: number;
  /**
   * exclusive; none: up to the newest. Later parts repeat the first's `to_pos`
   */
  to_pos: number | null;
}
/**
 * First event on every connection.
 */
export interface Hello {
  type: "hello";
  protocol_version: string;
  server_version: string;
  /**
   * names this viewer in `author` fields
   */
  viewer_id: string;
  model_info: ModelInfo;
  limits: Limits;
}
/**
 * Shape and identity of the model being watched, in TransformerLens's nouns.
 */
export interface ModelInfo {
  model_name: string;
  architecture: string;
  n_layers: number;
  n_heads: number;
  n_key_value_heads: number;
  d_model: number;
  d_head: number;
  d_mlp: number;
  d_vocab: number;
  /**
   * longest sequence the model takes, tokens
   */
  n_ctx: number;
  dtype: string;
  weights_sha256: string;
  capabilities: Capabilities;
}
/**
 * What the engine can capture and change: declared, never guessed.
 */
export interface Capabilities {
  channels: (
    "attention" | "causal_effects" | "difference" | "direct_logit" | "heads" | "logit_lens" | "neurons" | "residual"
  )[];
  operations: (
    | "add_direction"
    | "attention_knockout"
    | "attention_set"
    | "attention_turn"
    | "mean"
    | "project_out"
    | "rank_one_edit"
    | "resample"
    | "scale"
    | "set"
    | "zero"
  )[];
  component_kinds: ("attn" | "head" | "mlp" | "neuron")[];
  missing: MissingCapability[];
  has_chat_template: boolean;
  /**
   * questions the engine answers: their tags without `request_`
   */
  analyses: (
    | "attention_entropy"
    | "attribution"
    | "comparison"
    | "direction"
    | "effects"
    | "head_lens"
    | "head_profile"
    | "head_scores"
    | "lens"
    | "neuron_profile"
    | "overview"
    | "patching"
    | "paths"
    | "rank_one_edit"
    | "relevance"
    | "stream_pca"
  )[];
  missing_analyses: MissingAnalysis[];
}
/**
 * A channel this model or engine cannot give, and why; the page greys it out.
 */
export interface MissingCapability {
  channel:
    "attention" | "causal_effects" | "difference" | "direct_logit" | "heads" | "logit_lens" | "neurons" | "residual";
  reason: string;
}
/**
 * A question that this engine does not answer, and why; the page greys it out.
 */
export interface MissingAnalysis {
  analysis:
    | "attention_entropy"
    | "attribution"
    | "comparison"
    | "direction"
    | "effects"
    | "head_lens"
    | "head_profile"
    | "head_scores"
    | "lens"
    | "neuron_profile"
    | "overview"
    | "patching"
    | "paths"
    | "rank_one_edit"
    | "relevance"
    | "stream_pca";
  reason: string;
}
/**
 * The server's bounds, so that a viewer can refuse before it sends.
 */
export interface Limits {
  max_command_bytes: number;
  max_prompt_chars: number;
  max_interventions: number;
  /**
   * a run without viewers ends after this long
   */
  grace_secs: number;
}
/**
 * Answer to `start_run`.
 */
export interface RunStarted {
  type: "run_started";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  run: RunSnapshot;
}
/**
 * A run as it stands: enough to draw its text; its steps follow, newest first for a joiner.
 */
export interface RunSnapshot {
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  prompt: string;
  apply_chat_template: boolean;
  sampling: Sampling;
  n_prompt_tokens: number;
  /**
   * prompt and generated tokens, by position
   */
  tokens: TokenInfo[];
  /**
   * the generated text so far
   */
  text: string;
  state: "finished" | "paused" | "prefilling" | "running";
  finish_reason:
    ("abandoned" | "context_full" | "engine_fault" | "eos" | "max_new_tokens" | "nonfinite" | "stopped") | null;
  revision: number;
  intervention_log: AppliedInterventions[];
  /**
   * newest seq when the snapshot was taken; -1: none
   */
  last_seq: number;
  /**
   * positions with a captured step
   */
  n_steps: number;
  author: string;
  target_id: number | null;
  distractor_id: number | null;
  /**
   * something the person should know, e.g. a split target
   */
  notice: string | null;
  /**
   * the run it branched off; none: it branched off none
   */
  branch: BranchPoint | null;
  twin: "free_running" | "off" | "teacher_forced";
  /**
   * first position that run and twin are both carried from; none: no twin
   */
  twin_from_pos: number | null;
}
/**
 * One token of a run's text.
 */
export interface TokenInfo {
  token_id: number;
  /**
   * the token alone, for a label; may be part of a character
   */
  text: string;
  /**
   * natural log-probability when it was chosen; none for prompt tokens not yet scored
   */
  logprob: number | null;
}
/**
 * One entry of a run's intervention log.
 */
export interface AppliedInterventions {
  /**
   * counts the sets a run has had; 0 is the set it started with
   */
  revision: number;
  /**
   * first position whose forward pass is under this set
   */
  from_pos: number;
  mode: "from_now" | "recompute";
  interventions: InterventionSpec[];
  /**
   * viewer_id of who set it
   */
  author: string;
}
/**
 * Where a run branched off another one.
 */
export interface BranchPoint {
  /**
   * the run that it branched off
   */
  run_id: string;
  /**
   * first token that may differ from that run's
   */
  from_pos: number;
  /**
   * positions that were taken over, not computed again
   */
  n_shared: number;
  /**
   * token put at from_pos; none: chosen by the model
   */
  token_id: number | null;
}
/**
 * Answer to `join_run`; the missing steps follow, newest position first, then oldest first.
 */
export interface RunJoined {
  type: "run_joined";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  run: RunSnapshot;
}
/**
 * Everything new at one position. May come again for a `pos` with further tensors, which merge.
 */
export interface Step {
  type: "step";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * counts the steps sent for this run, in order of emission
   */
  seq: number;
  /**
   * the step whose tensors sparse tensors differ from; -1: keyframe, all whole
   */
  base_seq: number;
  /**
   * position of the token whose activations these are
   */
  pos: number;
  /**
   * the token at pos
   */
  token_id: number;
  /**
   * that token alone, for a label
   */
  text: string;
  /**
   * the token after pos: the next prompt token, or the one chosen here
   */
  chosen_id: number | null;
  chosen_text: string | null;
  /**
   * what the chosen token adds to the generated text; empty within a character
   */
  text_delta: string;
  /**
   * the token after pos was chosen by the model at this step
   */
  generated: boolean;
  /**
   * likeliest next tokens, best first
   */
  top_tokens: TopToken[];
  /**
   * natural log-probability of chosen_id
   */
  logprob: number | null;
  /**
   * entropy of the prediction at pos, nats
   */
  entropy: number | null;
  /**
   * intervention set under which this position was computed
   */
  revision: number;
  /**
   * server's monotonic clock when the step was made, nanoseconds
   */
  server_ns: number;
  tensors: StepTensors;
  /**
   * text of each lens_token_id
   */
  lens_texts: string[] | null;
  direct_target_id: number | null;
  /**
   * none: the mean of all logits was subtracted
   */
  direct_distractor_id: number | null;
  /**
   * the clean row at this position; none: no twin is carried there
   */
  twin: TwinStep | null;
  /**
   * this viewer was too slow for the tensors; request_positions brings them
   */
  detail_dropped: boolean;
}
/**
 * One candidate for the next token.
 */
export interface TopToken {
  token_id: number;
  text: string;
  prob: number;
}
/**
 * The arrays of one position, by channel; absent where no viewer asked or the model has none.
 */
export interface StepTensors {
  /**
   * int8 [n_layers, d_mlp]: mlp.out.hook_in, companded; -128 marks a non-finite value
   */
  neurons?: Tensor | null;
  /**
   * float32 [n_layers]: the largest |activation| of each layer
   */
  neurons_scale?: Tensor | null;
  /**
   * float16 [n_layers, n_heads]: L2 norm of z @ W_O[head], what a head writes
   */
  heads?: Tensor | null;
  /**
   * uint8 [n_layers, n_heads, n_keys]: this position's row of pattern, in 1/255; n_keys is pos+1, or 64 where attention_keys is present
   */
  attention?: Tensor | null;
  /**
   * uint16 or uint32 [n_layers, n_heads, 64]: key_pos of each weight, long rows only
   */
  attention_keys?: Tensor | null;
  /**
   * uint8 [n_layers, n_heads]: weight left to all other keys, in 1/255, long rows only
   */
  attention_rest?: Tensor | null;
  /**
   * float16 [n_layers+1]: norm of the stream before layer 0 and after each layer
   */
  residual?: Tensor | null;
  /**
   * float16 [n_layers]: norm of what the layer's attention writes
   */
  attn_out?: Tensor | null;
  /**
   * float16 [n_layers]: norm of what the layer's MLP writes
   */
  mlp_out?: Tensor | null;
  /**
   * int32 [n_layers]: top token of each layer's logit lens
   */
  lens_token_id?: Tensor | null;
  /**
   * float16 [n_layers]: probability of that token
   */
  lens_prob?: Tensor | null;
  /**
   * float16 [n_layers]: entropy of the layer's prediction, nats
   */
  lens_entropy?: Tensor | null;
  /**
   * int32 [n_layers]: rank of the token in fact chosen, 0 is top
   */
  lens_rank?: Tensor | null;
  /**
   * float32 [n_layers]: log-probability of the token in fact chosen
   */
  lens_logprob?: Tensor | null;
  /**
   * float32 [n_layers, n_heads]: direct contribution of each head, logits
   */
  direct_heads?: Tensor | null;
  /**
   * float32 [n_layers]: direct contribution of each layer's MLP, logits
   */
  direct_mlps?: Tensor | null;
  /**
   * float32 [n_layers]: direct contribution of each attention output bias, logits
   */
  direct_bias?: Tensor | null;
  /**
   * float32 [3]: contribution of the embedding, of the final biases, and the total (the metric itself, before any soft cap); heads+mlps+bias+embedding+final = total
   */
  direct_ends?: Tensor | null;
  /**
   * uint16 [k]: layer of each of the strongest neurons
   */
  direct_neuron_layer?: Tensor | null;
  /**
   * uint32 [k]: index of each of the strongest neurons in its layer
   */
  direct_neuron_index?: Tensor | null;
  /**
   * float32 [k]: direct contribution of that neuron, logits
   */
  direct_neuron_value?: Tensor | null;
  /**
   * uint8 [k]: kind of each of the strongest heads and MLPs by |direct contribution|, strongest first: its place in CAUSAL_KINDS; only of tokens as they are generated
   */
  causal_kind?: Tensor | null;
  /**
   * uint16 [k]: layer of each
   */
  causal_layer?: Tensor | null;
  /**
   * uint32 [k]: head_index of each, 0 for an mlp
   */
  causal_index?: Tensor | null;
  /**
   * float32 [k]: direct contribution of each to the metric, logits
   */
  causal_attributed?: Tensor | null;
  /**
   * float32 [k]: the metric minus what it is when that one alone is zeroed at this position, logits before any soft cap
   */
  causal_measured?: Tensor | null;
  /**
   * int8 [n_layers, d_mlp]: this run's activations minus its clean twin's, companded as `neurons`; every difference_* is taken between exact float32 values before it is quantised
   */
  difference_neurons?: Tensor | null;
  /**
   * float32 [n_layers]: the largest |difference| of each layer
   */
  difference_neurons_scale?: Tensor | null;
  /**
   * float32 [n_layers, n_heads]: this run's norms of what heads write minus the twin's
   */
  difference_heads?: Tensor | null;
  /**
   * float16 [n_layers, n_heads, pos+1]: this run's row of pattern minus the twin's, in steps of 1/2048; absent above 512 keys (request_comparison brings it exact)
   */
  difference_attention?: Tensor | null;
  /**
   * float32 [n_layers+1]: this run's norm of the stream minus the twin's
   */
  difference_residual?: Tensor | null;
  /**
   * float32 [n_layers]: of the norm of what attention writes
   */
  difference_attn_out?: Tensor | null;
  /**
   * float32 [n_layers]: of the norm of what the MLP writes
   */
  difference_mlp_out?: Tensor | null;
  /**
   * float32 [n_layers, n_heads]: of direct contributions to this run's metric, logits
   */
  difference_direct_heads?: Tensor | null;
  /**
   * float32 [n_layers]: of direct contributions to this run's metric, logits
   */
  difference_direct_mlps?: Tensor | null;
}
/**
 * One array. Whole: `data` holds every value. Sparse: values that differ from the base step's.
 */
export interface Tensor {
  dtype: "float16" | "float32" | "int32" | "int8" | "uint16" | "uint32" | "uint8";
  shape: number[];
  /**
   * little-endian, C order; whole array, or the changed values
   */
  data: Uint8Array;
  /**
   * zlib.crc32 of the whole array's bytes, after reconstruction
   */
  crc32: number;
  /**
   * uint32 little-endian flat indices of the changed values; present only when sparse
   */
  indices?: Uint8Array | null;
}
/**
 * What the clean row had and predicts at the position of its step; the step itself tells of the patched row.
 */
export interface TwinStep {
  /**
   * the clean row's token at pos; teacher-forced: the step's
   */
  token_id: number;
  /**
   * that token alone, for a label
   */
  text: string;
  /**
   * what the clean row goes on with: teacher-forced the run's chosen token, free-running its own; none: its text ends here, and positions after this one have no twin
   */
  chosen_id: number | null;
  chosen_text: string | null;
  /**
   * the clean row's most likely next token
   */
  prefers_id: number;
  prefers_text: string;
  /**
   * natural log-probability, in the clean row, of the step's chosen_id (not of its own)
   */
  logprob: number;
  /**
   * KL(patched || clean) of the next-token distributions at temperature 1, nats
   */
  kl: number;
  /**
   * entropy of the clean row's prediction, nats
   */
  entropy: number;
  /**
   * the clean row's likeliest next tokens, best first
   */
  top_tokens: TopToken[];
}
/**
 * The run's state now; answers pause, resume, step_once and stop, and is told to every viewer.
 */
export interface RunStateChanged {
  type: "run_state_changed";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  state: "finished" | "paused" | "prefilling" | "running";
  request_id: number | null;
  author: string | null;
}
/**
 * The set that holds from `applied.from_pos` on; answers `set_interventions`, told to every viewer.
 */
export interface InterventionsApplied {
  type: "interventions_applied";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  applied: AppliedInterventions;
  request_id: number | null;
}
/**
 * The clean twin's mode now; answers `set_twin`, told to every viewer. Also where a recompute moved `from_pos`.
 */
export interface TwinChanged {
  type: "twin_changed";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  mode: "free_running" | "off" | "teacher_forced";
  /**
   * first position that run and twin are both carried from
   */
  from_pos: number | null;
  request_id: number | null;
  author: string | null;
}
/**
 * Recompute: captured steps from `from_pos` on are void; tokens from `n_tokens` on are dropped.
 */
export interface RunRewound {
  type: "run_rewound";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  from_pos: number;
  n_tokens: number;
  /**
   * the generated text that is kept
   */
  text: string;
  revision: number;
}
/**
 * The run has ended; its text and steps stay readable.
 */
export interface RunFinished {
  type: "run_finished";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  reason: "abandoned" | "context_full" | "engine_fault" | "eos" | "max_new_tokens" | "nonfinite" | "stopped";
  message: string;
  n_generated: number;
  text: string;
}
/**
 * Answer to `request_values`.
 */
export interface ValuesReady {
  type: "values_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  components: Component[];
  positions: number[];
  /**
   * float32 [n_components, n_positions]; NaN where a position was not captured
   */
  values: Tensor;
  /**
   * false: some come from the quantised record, not from float32
   */
  exact: boolean;
}
/**
 * Answer to `request_attention`.
 */
export interface AttentionReady {
  type: "attention_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  head_index: number;
  query_pos: number;
  /**
   * float32 [query_pos+1]; sums to 1
   */
  row: Tensor;
  exact: boolean;
}
/**
 * Answer to `put_direction`.
 */
export interface DirectionStored {
  type: "direction_stored";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  direction: DirectionInfo;
}
/**
 * A direction that the server holds.
 */
export interface DirectionInfo {
  /**
   * names a direction by its content: equal vectors, equal ids
   */
  direction_id: string;
  name: string;
  recipe: DirectionRecipe;
  d_model: number;
  norm: number;
  /**
   * where it was read: resid_post of this layer; none: nowhere
   */
  layer: number | null;
}
/**
 * Answer to `put_rank_one_edit`.
 */
export interface RankOneEditStored {
  type: "rank_one_edit_stored";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  edit: RankOneEditInfo;
}
/**
 * A rank-1 edit that the server holds: `recipe` says of which matrix.
 */
export interface RankOneEditInfo {
  /**
   * names a rank-1 edit by its content: equal edits, equal ids
   */
  edit_id: string;
  name: string;
  recipe: RankOneRecipe;
  /**
   * width of the key: d_mlp, or n_heads * d_head
   */
  d_in: number;
  /**
   * width of the value
   */
  d_model: number;
  key_norm: number;
  value_norm: number;
}
/**
 * What is looked at now; told to every viewer of the group that shares it, answers `set_selection`.
 */
export interface SelectionChanged {
  type: "selection_changed";
  component: Component | null;
  /**
   * of the run that is shared; none: the newest
   */
  pos: number | null;
  /**
   * viewer_id of who selected it
   */
  author: string;
  request_id: number | null;
}
/**
 * A viewer of the group went to this run: `join_run` goes along.
 */
export interface RunShared {
  type: "run_shared";
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  author: string;
}
/**
 * The command was taken and needs no other answer.
 */
export interface Acknowledged {
  type: "acknowledged";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
}
/**
 * Answer to `ping`.
 */
export interface Pong {
  type: "pong";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  server_ns: number;
}
/**
 * A refusal or a fault: what is wrong, which limit, and what to do. Nothing else is lost.
 */
export interface ErrorReport {
  type: "error_report";
  /**
   * stable, snake_case
   */
  code: string;
  message: string;
  request_id: number | null;
  run_id: string | null;
}
/**
 * A question is being worked on.
 */
export interface AnalysisProgress {
  type: "analysis_progress";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  done: number;
  total: number;
}
/**
 * Answer to `request_attribution`.
 */
export interface AttributionReady {
  type: "attribution_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  node: string;
  direction: "incoming" | "outgoing";
  /**
   * the node's whole contribution to the metric, logits
   */
  relevance: number;
  parts: AttributionPart[];
}
/**
 * The metric as it was understood, and its value, logits before any soft cap.
 */
export interface Metric {
  pos: number;
  target_id: number;
  target_text: string;
  /**
   * none: the mean of all logits
   */
  distractor_id: number | null;
  distractor_text: string | null;
  value: number;
  /**
   * e.g. a target of several tokens: its first was taken
   */
  notice: string | null;
}
/**
 * One way into a node (or out of it): its edges, strongest first, and what they leave out.
 */
export interface AttributionPart {
  part: "input" | "key" | "query" | "value";
  /**
   * what all edges of this part, biases and error sum to
   */
  value: number;
  edges: Edge[];
  /**
   * sum of the edges that were not sent
   */
  rest: number;
  n_rest: number;
  bias: number;
  /**
   * value - edges - rest - bias: rounding, or a frozen part's remainder
   */
  error: number;
  key_pos: number | null;
  /**
   * strongest neurons; each is a part of its MLP's edge, not one more
   */
  neurons: Edge[];
}
/**
 * One writer's contribution to one reader; signed, in logits of the metric (query and key: of the score).
 */
export interface Edge {
  writer: string;
  reader: string;
  part: "input" | "key" | "query" | "value";
  weight: number;
}
/**
 * Answer to `request_paths`.
 */
export interface PathsReady {
  type: "paths_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  nodes: GraphNode[];
  edges: Edge[];
  /**
   * 1 - |hidden| / (|tokens| + |biases| + |hidden|): the share of the flow that is drawn
   */
  shown: number;
}
/**
 * A node of a path graph.
 */
export interface GraphNode {
  node: string;
  /**
   * its whole contribution to the metric, logits
   */
  relevance: number;
  label: string;
}
/**
 * Answer to `request_overview`. Everything in logits of the metric; the direct terms sum to it.
 */
export interface OverviewReady {
  type: "overview_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  /**
   * float32 [n_layers+1]: the stream's, before and after each layer
   */
  layer_line: Tensor;
  /**
   * float32 [n_layers, n_heads], at the metric's position
   */
  direct_heads: Tensor;
  /**
   * float32 [n_layers]
   */
  direct_mlps: Tensor;
  /**
   * float32 [n_layers]: what attention biases write
   */
  direct_bias: Tensor;
  /**
   * float32 [n_layers, n_heads]: through every path and token, frozen model
   */
  relevance_heads: Tensor;
  /**
   * float32 [n_layers]
   */
  relevance_mlps: Tensor;
  embed: number;
  final_bias: number;
  /**
   * strongest neurons' direct effects, strongest first
   */
  neurons: Component[];
  /**
   * float32 [n_neurons]
   */
  neuron_values: Tensor;
  /**
   * sum of the direct terms over the metric: 1 when all is shown
   */
  shown: number;
}
/**
 * Answer to `request_relevance`: tokens and bias sum to total, which misses the metric by error.
 */
export interface RelevanceReady {
  type: "relevance_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  method: "frozen" | "gradient_x_input" | "integrated_gradients";
  /**
   * float32 [pos+1], logits
   */
  tokens: Tensor;
  bias: number;
  total: number;
  /**
   * total - what the method promises to reach
   */
  error: number;
  /**
   * of integrated gradients, logits (no signs) whose share of a token is an estimate: missed between gradients and placed by the slopes there
   */
  placed: number;
}
/**
 * Answer to `request_effects`: what each ablation did to the metric.
 */
export interface EffectsReady {
  type: "effects_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  scope: "attn" | "heads" | "listed" | "mlps" | "neurons";
  ablation: "mean" | "zero";
  everywhere: boolean;
  components: Component[];
  /**
   * float32 [n]: metric - metric when ablated, logits
   */
  effects: Tensor;
  /**
   * float32 [n]: the target's probability when ablated
   */
  probs: Tensor;
  clean_prob: number;
  /**
   * float32 [n]: what attribution says of the same components, same positions
   */
  attributed: Tensor | null;
  /**
   * rank correlation of the two; none for fewer than three
   */
  spearman: number | null;
  /**
   * fraction of equal signs, ten strongest attributed
   */
  sign_agreement: number | null;
  secs: number;
}
/**
 * Answer to `request_patching`: (patched - corrupted) / (clean - corrupted); 0 nothing restored, 1 all of it.
 *
 *     Of the run's (clean) values put into the corrupted run. `metric` is the clean run's.
 */
export interface PatchingReady {
  type: "patching_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  metric: Metric;
  /**
   * the metric of the other prompt's run, logits
   */
  corrupted_value: number;
  /**
   * n_pos texts, up to the metric's position
   */
  clean_tokens: string[];
  corrupted_tokens: string[];
  /**
   * before this position both runs are the same
   */
  first_difference: number;
  /**
   * float32 [n_layers, n_pos]: the stream before each layer
   */
  resid_pre: Tensor;
  /**
   * float32 [n_layers, n_pos]
   */
  attn_out: Tensor;
  /**
   * float32 [n_layers, n_pos]
   */
  mlp_out: Tensor;
  /**
   * float32 [n_layers, n_heads]: z at the metric's position only
   */
  heads_last: Tensor;
  /**
   * float32 [n_layers, n_heads]: z at every position
   */
  heads_all: Tensor;
  /**
   * float32 [n_layers+1, n_pos]: |clean - corrupted| / |corrupted|, nothing patched
   */
  resid_distance: Tensor;
  /**
   * float32 [n_layers, n_heads]: clean - corrupted, channel `heads`, last position
   */
  head_norm_difference: Tensor;
  /**
   * runs that were made
   */
  n_patches: number;
  secs: number;
}
/**
 * Answer to `request_head_scores`.
 */
export interface HeadScoresReady {
  type: "head_scores_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  scores: HeadScore[];
  n_random_tokens: number;
}
/**
 * One head's measured habits, each 0 to 1, and what its weights copy.
 */
export interface HeadScore {
  layer: number;
  head_index: number;
  previous_token: number;
  duplicate_token: number;
  induction: number;
  /**
   * fraction of positive eigenvalue mass of the OV circuit, -1 to 1
   */
  copying: number;
}
/**
 * Answer to `request_head_profile`. In TopToken of `promoted`, `prob` is the logit written.
 */
export interface HeadProfileReady {
  type: "head_profile_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  head_index: number;
  query_pos: number;
  /**
   * float16 [n, n] of this run, query by key; 0 above the diagonal
   */
  pattern: Tensor;
  /**
   * float32 [n], nats: of each query's row
   */
  entropy: Tensor;
  score: HeadScore;
  reads: ReadToken[];
  /**
   * strongest weight composition into Q, K and V
   */
  feeders: Feeder[];
}
/**
 * A token that a head reads at a query, and what its OV circuit writes for it.
 */
export interface ReadToken {
  key_pos: number;
  text: string;
  weight: number;
  promoted: TopToken[];
  suppressed: TopToken[];
}
/**
 * A head by how strongly its output weights compose with another's input weights.
 */
export interface Feeder {
  component: Component;
  part: "input" | "key" | "query" | "value";
  score: number;
}
/**
 * Answer to `request_neuron_profile`. In TopToken lists `prob` is the logit or weight, not a probability.
 */
export interface NeuronProfileReady {
  type: "neuron_profile_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  layer: number;
  neuron_index: number;
  /**
   * W_out @ W_U, through the final norm's gain
   */
  promoted: TopToken[];
  suppressed: TopToken[];
  /**
   * tokens whose embedding drives it most, up (and gate)
   */
  driven_by: TopToken[];
  /**
   * loudest tokens of this run
   */
  contexts: NeuronContext[];
  /**
   * neurons that read most alike, cosine; `part` is input
   */
  alike_in: Feeder[];
  /**
   * neurons that write most alike, cosine; `part` is value
   */
  alike_out: Feeder[];
  /**
   * float32 [n_bins]: how many tokens of this run, by value
   */
  histogram: Tensor;
  /**
   * float32 [n_bins+1]
   */
  histogram_edges: Tensor;
  /**
   * loudest tokens of `past_run_ids`, each text once; quantised to int8
   */
  past_contexts: NeuronContext[];
  /**
   * of `past_run_ids`, those that the server still has
   */
  n_past_runs: number;
  /**
   * of those runs, tokens with neurons on record
   */
  n_past_tokens: number;
}
/**
 * A token at which a neuron was loud, with the text around it.
 */
export interface NeuronContext {
  pos: number;
  value: number;
  before: string;
  text: string;
  /**
   * whose token it is; none: the run that was asked about
   */
  run_id: string | null;
}
/**
 * Answer to `request_lens`: each layer's resid_post through the final norm and unembedding, soft cap included.
 */
export interface LensReady {
  type: "lens_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
  target_id: number;
  target_text: string;
  /**
   * e.g. a target of several tokens: its first was taken
   */
  notice: string | null;
  /**
   * [n_layers][n_tokens]: likeliest first
   */
  top: TopToken[][];
  /**
   * float32 [n_layers], nats
   */
  entropy: Tensor;
  /**
   * int32 [n_layers]: of the target, 0 is top
   */
  rank: Tensor;
  /**
   * float32 [n_layers]: of the target
   */
  logprob: Tensor;
}
/**
 * Answer to `request_head_lens`, in logits above the mean of all logits, before any soft cap.
 *
 *     `z @ W_O[head]` (an MLP: its output) through the final norm, its scale frozen at the whole stream's, and
 *     the unembedding. The direct terms sum to `total`.
 */
export interface HeadLensReady {
  type: "head_lens_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
  target_id: number;
  target_text: string;
  notice: string | null;
  /**
   * int32 [n_layers, n_heads, n_tokens]: most promoted first
   */
  head_token_id: Tensor;
  /**
   * float32 [n_layers, n_heads, n_tokens]: added to their logits
   */
  head_value: Tensor;
  /**
   * int32 [n_layers, n_heads]: of the target, 0 is most promoted
   */
  head_rank: Tensor;
  /**
   * int32 [n_layers, n_tokens]
   */
  mlp_token_id: Tensor;
  /**
   * float32 [n_layers, n_tokens]
   */
  mlp_value: Tensor;
  /**
   * int32 [n_layers]
   */
  mlp_rank: Tensor;
  /**
   * the text of every token named, each once
   */
  words: TokenInfo[];
  /**
   * float32 [n_layers, n_heads]: added to the target's logit
   */
  direct_heads: Tensor;
  /**
   * float32 [n_layers]
   */
  direct_mlps: Tensor;
  /**
   * float32 [n_layers]: what attention biases write
   */
  direct_bias: Tensor;
  embed: number;
  final_bias: number;
  /**
   * the target's logit above the mean of all logits
   */
  total: number;
}
/**
 * Answer to `request_stream_pca`: (scaled stream - mean) along the axes.
 *
 *     Mean and axes are of all layers and of all positions but the skipped ones together.
 */
export interface StreamPcaReady {
  type: "stream_pca_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  scaling: "none" | "rms";
  skip_first: number;
  /**
   * float32 [n_positions, n_layers+1, 3]: before layer 0 and after each layer
   */
  coordinates: Tensor;
  /**
   * float32 [3]: share of the variance along each axis
   */
  explained: Tensor;
  /**
   * [3]: tokens whose logits each axis raises; `prob` is by how much a unit
   */
  promoted: TopToken[][];
  /**
   * [3]: tokens that it lowers
   */
  suppressed: TopToken[][];
}
/**
 * Answer to `request_attention_entropy`, exact.
 */
export interface AttentionEntropyReady {
  type: "attention_entropy_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
  /**
   * float32 [n_layers, n_heads], nats; 0: one key, ln(pos+1): all alike
   */
  entropy: Tensor;
  /**
   * int32 [n_layers, n_heads]: the key looked at most
   */
  top_key: Tensor;
  /**
   * float32 [n_layers, n_heads]: with how much
   */
  top_weight: Tensor;
}
/**
 * Answer to `request_comparison`: `other` is the other run's, `difference` is this run - the other.
 */
export interface ComparisonReady {
  type: "comparison_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  pos: number;
  without_interventions: boolean;
  /**
   * the other run's texts, by position
   */
  other_tokens: string[];
  /**
   * positions that both have, with another token
   */
  differing: number[];
  /**
   * first other token or lacking intervention: before it both compute the same, bit for bit
   */
  first_difference: number | null;
  target_id: number;
  target_text: string;
  distractor_id: number | null;
  distractor_text: string | null;
  /**
   * what the other run predicts after pos
   */
  other_top_tokens: TopToken[];
  /**
   * of the target, after pos, in the other run
   */
  other_logprob: number;
  /**
   * nats
   */
  other_entropy: number;
  /**
   * of the target, in this run, computed in the same way
   */
  logprob: number;
  /**
   * text of each lens_token_id of `other`
   */
  other_lens_texts: string[] | null;
  other: ComparedTensors;
  difference: ComparedTensors;
  secs: number;
}
/**
 * One position's channels, exact; as in `StepTensors`, but nothing is quantised. Absent: the model has none.
 */
export interface ComparedTensors {
  /**
   * float32 [n_layers, d_mlp]
   */
  neurons?: Tensor | null;
  /**
   * float32 [n_layers, n_heads]: norms
   */
  heads?: Tensor | null;
  /**
   * float32 [n_layers, n_heads, pos+1]
   */
  attention?: Tensor | null;
  /**
   * float32 [n_layers+1]: norms
   */
  residual?: Tensor | null;
  /**
   * float32 [n_layers]: norms
   */
  attn_out?: Tensor | null;
  /**
   * float32 [n_layers]: norms
   */
  mlp_out?: Tensor | null;
  /**
   * int32 [n_layers]; not in a difference
   */
  lens_token_id?: Tensor | null;
  /**
   * float32 [n_layers]; not in a difference
   */
  lens_prob?: Tensor | null;
  /**
   * float32 [n_layers], nats
   */
  lens_entropy?: Tensor | null;
  /**
   * int32 [n_layers]: of the target
   */
  lens_rank?: Tensor | null;
  /**
   * float32 [n_layers]: of the target
   */
  lens_logprob?: Tensor | null;
  /**
   * float32 [n_layers, n_heads], logits
   */
  direct_heads?: Tensor | null;
  /**
   * float32 [n_layers], logits
   */
  direct_mlps?: Tensor | null;
  /**
   * float32 [n_layers], logits
   */
  direct_bias?: Tensor | null;
  /**
   * float32 [3]: embedding, final biases, total
   */
  direct_ends?: Tensor | null;
  /**
   * uint16 [k]: strongest neurons; of a difference, those that differ most
   */
  direct_neuron_layer?: Tensor | null;
  /**
   * uint32 [k]
   */
  direct_neuron_index?: Tensor | null;
  /**
   * float32 [k], logits
   */
  direct_neuron_value?: Tensor | null;
}
/**
 * Answer to `request_direction`.
 */
export interface DirectionReady {
  type: "direction_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  direction: DirectionInfo;
  /**
   * float32 [d_model]
   */
  vector: Tensor;
  /**
   * float32 [n_layers], of contrast, each prompt held out in turn: how far on its own side of the others' midpoint it lies, along their difference; the mean over all, in standard deviations
   */
  separation: Tensor | null;
  /**
   * float32 [n_layers], of contrast: held-out prompts on their own side
   */
  accuracy: Tensor | null;
}
/**
 * Answer to `request_rank_one_edit`. Before and after: with the edit at amount 1 at every position.
 */
export interface RankOneEditReady {
  type: "rank_one_edit_ready";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  edit: RankOneEditInfo;
  /**
   * float32 [d_in]
   */
  key: Tensor;
  /**
   * float32 [d_model]
   */
  value: Tensor;
  /**
   * of the prompt
   */
  tokens: string[];
  key_pos: number;
  /**
   * the wanted word's; `prob` is what was before
   */
  wanted_tokens: TopToken[];
  /**
   * of the whole wanted word, the product over its tokens
   */
  prob_before: number;
  prob_after: number;
  /**
   * likeliest next tokens after the prompt
   */
  top_before: TopToken[];
  top_after: TopToken[];
  /**
   * float32 [n_steps_taken]: before each step
   */
  losses: Tensor;
  /**
   * of what the matrix writes at the subject's last token
   */
  output_norm: number;
  /**
   * positions that C is made of; 0: the identity
   */
  n_covariance_tokens: number;
  spillover: Spillover[];
  notice: string | null;
  secs: number;
}
/**
 * What an edit does to another prompt's next token.
 */
export interface Spillover {
  prompt: string;
  /**
   * KL(clean || edited) of the next token, nats
   */
  kl: number;
  top_before: TopToken;
  top_after: TopToken;
  /**
   * probability of the wanted word's first token
   */
  wanted_before: number;
  wanted_after: number;
}
/**
 * Answer to `request_recording`: bytes to append to those of the parts before.
 */
export interface RecordingPart {
  type: "recording_part";
  /**
   * chosen by the viewer; every answer echoes it
   */
  request_id: number;
  /**
   * names one run; unguessable, so a link is a key
   */
  run_id: string;
  /**
   * whole blocks of a recording; the end block is the viewer's to write
   */
  data: Uint8Array;
  /**
   * where the next part begins; none: this was the last
   */
  next_pos: number | null;
  /**
   * exclusive end of the whole recording
   */
  to_pos: number;
  /**
   * how often the run was computed again: where it differs from the first part, begin anew
   */
  n_rewinds: number;
}

export const PROTOCOL_VERSION = "1.0" as const;
export const SUBPROTOCOL = "livelens.v1" as const;
export const MAX_COMMAND_BYTES = 65536 as const;
export const MAX_PROMPT_CHARS = 49152 as const;
export const MAX_REQUESTED_POSITIONS = 4096 as const;
export const CHANNELS = ["neurons", "heads", "attention", "residual", "logit_lens", "direct_logit", "causal_effects", "difference"] as const;
export const MEASURED_CHANNELS = ["causal_effects", "difference"] as const;
export const CHANNEL_TENSORS = {"neurons": ["neurons", "neurons_scale"], "heads": ["heads"], "attention": ["attention", "attention_keys", "attention_rest"], "residual": ["residual", "attn_out", "mlp_out"], "logit_lens": ["lens_token_id", "lens_prob", "lens_entropy", "lens_rank", "lens_logprob"], "direct_logit": ["direct_heads", "direct_mlps", "direct_bias", "direct_ends", "direct_neuron_layer", "direct_neuron_index", "direct_neuron_value"], "causal_effects": ["causal_kind", "causal_layer", "causal_index", "causal_attributed", "causal_measured"], "difference": ["difference_neurons", "difference_neurons_scale", "difference_heads", "difference_attention", "difference_residual", "difference_attn_out", "difference_mlp_out", "difference_direct_heads", "difference_direct_mlps"]} as const;
export const CAUSAL_KINDS = ["head", "mlp"] as const;
export const NONFINITE_INT8 = -128 as const;
export const FRAME_PLAIN = 0 as const;
export const FRAME_ZSTD = 1 as const;
