// One checker per event. The compiler holds them to the generated types: a field that the schema gains and
// this file lacks does not compile.
import {
  bytes, count, flag, known, list, one_of, optional, real, struct, text, whole, with_default, type Check,
} from "./check";
import {
  CHANNELS,
  type AppliedInterventions, type AttentionEdit, type AttributionPart, type BranchPoint, type Capabilities,
  type ComparedTensors, type Component, type DirectionInfo, type DirectionRecipe, type Edge, type Event, type Feeder,
  type GraphNode, type HeadScore, type InterventionSpec, type Limits, type Metric, type MissingAnalysis,
  type MissingCapability, type ModelInfo, type NeuronContext, type Positions, type RankOneEditInfo,
  type RankOneRecipe, type ReadToken, type Reference, type RunSnapshot, type Sampling, type Spillover, type Step,
  type StepTensors, type StreamPlace, type Tensor, type TokenInfo, type TopToken, type TwinStep,
} from "./generated";

const tag = <T extends string>(type: T): Check<T> => one_of(type);
const channel = one_of(...CHANNELS);
/** A token by its id or its text. */
const token: Check<number | string> = (value, path) =>
  typeof value === "string" ? text(value, path) : count(value, path);
/** Any text where only some are known: a newer minor may add operations that this page can still list. */
const open_text = <T extends string>(): Check<T> => text as Check<string> as Check<T>;

export const tensor_check: Check<Tensor> = struct<Tensor>({
  dtype: one_of("int8", "uint8", "uint16", "int32", "uint32", "float16", "float32"),
  shape: list(count),
  data: bytes,
  crc32: count,
  indices: optional(bytes),
});

const component = struct<Component>({
  kind: one_of("attn", "head", "mlp", "neuron"),
  layer: count,
  index: with_default(count, 0),
});
const positions = struct<Positions>({
  scope: with_default(one_of("from_now", "range", "all", "tokens"), "from_now"),
  from_pos: with_default(count, 0),
  to_pos: with_default(optional(count), null),
  token_ids: with_default(list(count), []),
});
const reference = struct<Reference>({
  source: with_default(one_of("prompt", "text", "run"), "prompt"),
  texts: with_default(list(text), []),
  apply_chat_template: with_default(flag, false),
  run_id: with_default(optional(text), null),
  pooled: with_default(flag, true),
  pos: with_default(optional(count), null),
});
const attention_edit = struct<AttentionEdit>({
  keys: list(count),
  weights: with_default(list(real), []),
  from_keys: with_default(list(count), []),
  rest: with_default(one_of("zero", "scaled"), "zero"),
  renormalise: with_default(flag, true),
});
const stream_place = struct<StreamPlace>({
  layer: count,
  hook: with_default(one_of("resid_pre", "resid_post"), "resid_post"),
});
export const direction_recipe = struct<DirectionRecipe>({
  kind: one_of("put", "contrast", "neuron", "head", "unembed", "pca"),
  layer: with_default(optional(count), null),
  index: with_default(count, 0),
  pos: with_default(optional(count), null),
  token: with_default(optional(token), null),
  positive: with_default(list(text), []),
  negative: with_default(list(text), []),
});
export const rank_one_recipe = struct<RankOneRecipe>({
  kind: one_of("put", "rome"),
  matrix: one_of("mlp_out", "ov"),
  layer: count,
  head_index: with_default(optional(count), null),
  prompt: with_default(text, ""),
  to_pos: with_default(optional(count), null),
  subject: with_default(text, ""),
  key_pos: with_default(optional(count), null),
  wanted: with_default(optional(token), null),
  prefixes: with_default(list(text), []),
  covariance: with_default(one_of("none", "built_in", "texts", "prompt"), "built_in"),
  covariance_texts: with_default(list(text), []),
  ridge: with_default(real, 0.1),
  n_steps: with_default(count, 20),
  learning_rate: with_default(real, 0.5),
  weight_decay: with_default(real, 0.5),
  clamp: with_default(real, 4),
  essence: with_default(text, ""),
  kl_factor: with_default(real, 0.0625),
  spillover_prompts: with_default(list(text), []),
});
const rank_one_edit = struct<RankOneEditInfo>({
  edit_id: text, name: text, recipe: rank_one_recipe, d_in: count, d_model: count, key_norm: real, value_norm: real,
});
const direction = struct<DirectionInfo>({
  direction_id: text,
  name: text,
  recipe: direction_recipe,
  d_model: count,
  norm: real,
  layer: optional(count),
});
export const intervention = struct<InterventionSpec>({
  intervention_id: text,
  operation: open_text<InterventionSpec["operation"]>(),
  components: list(component),
  amount: with_default(real, 0),
  enabled: with_default(flag, true),
  positions: with_default(positions, positions({}, "positions")),
  reference: with_default(optional(reference), null),
  direction_id: with_default(optional(text), null),
  unit: with_default(one_of("direction", "norm", "stream"), "direction"),
  stream: with_default(list(stream_place), []),
  attention: with_default(optional(attention_edit), null),
  edit_id: with_default(optional(text), null),
});
const sampling = struct<Sampling>({
  temperature: real,
  top_k: count,
  top_p: real,
  seed: count,
  max_new_tokens: count,
  stop_at_eos: flag,
});
const capabilities = struct<Capabilities>({
  channels: known(...CHANNELS),
  operations: known(
    "zero", "scale", "mean", "resample", "set", "add_direction", "project_out", "attention_knockout", "attention_set",
    "attention_turn", "rank_one_edit",
  ),
  component_kinds: known("attn", "head", "mlp", "neuron"),
  missing: with_default(list(struct<MissingCapability>({ channel, reason: text })), []),
  has_chat_template: with_default(flag, false),
  analyses: with_default(
    known(
      "attribution", "paths", "overview", "relevance", "effects", "patching", "head_profile", "head_scores",
      "neuron_profile", "lens", "head_lens", "stream_pca", "attention_entropy",
      "comparison", "direction", "rank_one_edit",
    ),
    [],
  ),
  missing_analyses: with_default(list(struct<MissingAnalysis>({ analysis: open_text(), reason: text })), []),
});
const model_info = struct<ModelInfo>({
  model_name: text, architecture: text, n_layers: count, n_heads: count, n_key_value_heads: count, d_model: count,
  d_head: count, d_mlp: count, d_vocab: count, n_ctx: count, dtype: text, weights_sha256: text, capabilities,
});
const limits = struct<Limits>({
  max_command_bytes: count, max_prompt_chars: count, max_interventions: count, grace_secs: real,
});
const token_info = struct<TokenInfo>({ token_id: count, text, logprob: optional(real) });
const top_token = struct<TopToken>({ token_id: count, text, prob: real });
const run_state = one_of("prefilling", "running", "paused", "finished");
const finish_reason = open_text<NonNullable<RunSnapshot["finish_reason"]>>();
const applied = struct<AppliedInterventions>({
  revision: count,
  from_pos: count,
  mode: one_of("from_now", "recompute"),
  interventions: list(intervention),
  author: text,
});
const branch_point = struct<BranchPoint>({
  run_id: text, from_pos: count, n_shared: count, token_id: optional(count),
});
const twin_mode = one_of("off", "teacher_forced", "free_running");
const twin_step = struct<TwinStep>({
  token_id: count, text, chosen_id: optional(count), chosen_text: optional(text), prefers_id: count,
  prefers_text: text, logprob: real, kl: real, entropy: real, top_tokens: list(top_token),
});
const run_snapshot = struct<RunSnapshot>({
  run_id: text,
  prompt: text,
  apply_chat_template: flag,
  sampling,
  n_prompt_tokens: count,
  tokens: list(token_info),
  text,
  state: run_state,
  finish_reason: optional(finish_reason),
  revision: count,
  intervention_log: list(applied),
  last_seq: whole,
  n_steps: count,
  author: text,
  target_id: optional(count),
  distractor_id: optional(count),
  notice: optional(text),
  branch: optional(branch_point),
  twin: with_default(twin_mode, "off"),
  twin_from_pos: with_default(optional(count), null),
});

const metric = struct<Metric>({
  pos: count,
  target_id: count,
  target_text: text,
  distractor_id: optional(count),
  distractor_text: optional(text),
  value: real,
  notice: optional(text),
});
const edge_part = one_of("input", "key", "query", "value");
const edge = struct<Edge>({ writer: text, reader: text, part: edge_part, weight: real });
const attribution_part = struct<AttributionPart>({
  part: edge_part, value: real, edges: list(edge), rest: real, n_rest: count, bias: real, error: real,
  key_pos: optional(count), neurons: with_default(list(edge), []),
});
const graph_node = struct<GraphNode>({ node: text, relevance: real, label: text });
const head_score = struct<HeadScore>({
  layer: count, head_index: count, previous_token: real, duplicate_token: real, induction: real, copying: real,
});
const feeder = struct<Feeder>({ component, part: edge_part, score: real });
const read_token = struct<ReadToken>({
  key_pos: count, text, weight: real, promoted: list(top_token), suppressed: list(top_token),
});
const neuron_context = struct<NeuronContext>({
  pos: count, value: real, before: text, text, run_id: with_default(optional(text), null),
});

const maybe_tensor = optional(tensor_check);
const compared_tensors = struct<ComparedTensors>({
  neurons: maybe_tensor, heads: maybe_tensor, attention: maybe_tensor, residual: maybe_tensor, attn_out: maybe_tensor,
  mlp_out: maybe_tensor, lens_token_id: maybe_tensor, lens_prob: maybe_tensor, lens_entropy: maybe_tensor,
  lens_rank: maybe_tensor, lens_logprob: maybe_tensor, direct_heads: maybe_tensor, direct_mlps: maybe_tensor,
  direct_bias: maybe_tensor, direct_ends: maybe_tensor, direct_neuron_layer: maybe_tensor,
  direct_neuron_index: maybe_tensor, direct_neuron_value: maybe_tensor,
});

const EMPTY_TENSORS: Check<StepTensors> = () => ({});

export const EVENT_CHECKS: { [T in Event["type"]]: Check<Extract<Event, { type: T }>> } = {
  hello: struct({
    type: tag("hello"), protocol_version: text, server_version: text, viewer_id: text, model_info, limits,
  }),
  run_started: struct({ type: tag("run_started"), request_id: count, run: run_snapshot }),
  run_joined: struct({ type: tag("run_joined"), request_id: count, run: run_snapshot }),
  step: struct<Step>({
    type: tag("step"),
    run_id: text,
    seq: count,
    base_seq: with_default(whole, -1),
    pos: count,
    token_id: count,
    text,
    chosen_id: optional(count),
    chosen_text: optional(text),
    text_delta: with_default(text, ""),
    generated: with_default(flag, false),
    top_tokens: with_default(list(top_token), []),
    logprob: optional(real),
    entropy: optional(real),
    revision: count,
    server_ns: real,
    tensors: EMPTY_TENSORS, // the decoder rebuilds them one by one, so that one lost array costs only itself
    lens_texts: optional(list(text)),
    direct_target_id: optional(count),
    direct_distractor_id: optional(count),
    twin: with_default(optional(twin_step), null),
    detail_dropped: with_default(flag, false),
  }),
  run_state_changed: struct({
    type: tag("run_state_changed"), run_id: text, state: run_state, request_id: optional(count), author: optional(text),
  }),
  interventions_applied: struct({
    type: tag("interventions_applied"), run_id: text, applied, request_id: optional(count),
  }),
  selection_changed: struct({
    type: tag("selection_changed"), component: optional(component), pos: optional(count), author: text,
    request_id: optional(count),
  }),
  run_shared: struct({ type: tag("run_shared"), run_id: text, author: text }),
  twin_changed: struct({
    type: tag("twin_changed"), run_id: text, mode: twin_mode, from_pos: optional(count), request_id: optional(count),
    author: optional(text),
  }),
  run_rewound: struct({
    type: tag("run_rewound"), run_id: text, from_pos: count, n_tokens: count, text, revision: count,
  }),
  run_finished: struct({
    type: tag("run_finished"), run_id: text, reason: finish_reason, message: text, n_generated: count, text,
  }),
  values_ready: struct({
    type: tag("values_ready"), request_id: count, run_id: text, components: list(component), positions: list(count),
    values: tensor_check, exact: flag,
  }),
  attention_ready: struct({
    type: tag("attention_ready"), request_id: count, run_id: text, layer: count, head_index: count, query_pos: count,
    row: tensor_check, exact: flag,
  }),
  recording_part: struct({
    type: tag("recording_part"), request_id: count, run_id: text, data: bytes, next_pos: optional(count), to_pos: count,
    n_rewinds: count,
  }),
  direction_stored: struct({ type: tag("direction_stored"), request_id: count, direction }),
  direction_ready: struct({
    type: tag("direction_ready"), request_id: count, run_id: text, direction, vector: tensor_check,
    separation: with_default(optional(tensor_check), null), accuracy: with_default(optional(tensor_check), null),
  }),
  rank_one_edit_stored: struct({ type: tag("rank_one_edit_stored"), request_id: count, edit: rank_one_edit }),
  rank_one_edit_ready: struct({
    type: tag("rank_one_edit_ready"), request_id: count, run_id: text, edit: rank_one_edit, key: tensor_check,
    value: tensor_check, tokens: list(text), key_pos: count, wanted_tokens: list(top_token), prob_before: real,
    prob_after: real, top_before: list(top_token), top_after: list(top_token), losses: tensor_check,
    output_norm: real, n_covariance_tokens: count,
    spillover: list(struct<Spillover>({
      prompt: text, kl: real, top_before: top_token, top_after: top_token, wanted_before: real, wanted_after: real,
    })),
    notice: with_default(optional(text), null), secs: with_default(real, 0),
  }),
  acknowledged: struct({ type: tag("acknowledged"), request_id: count }),
  pong: struct({ type: tag("pong"), request_id: count, server_ns: real }),
  error_report: struct({
    type: tag("error_report"), code: text, message: text, request_id: optional(count), run_id: optional(text),
  }),
  analysis_progress: struct({
    type: tag("analysis_progress"), request_id: count, run_id: text, done: count, total: count,
  }),
  attribution_ready: struct({
    type: tag("attribution_ready"), request_id: count, run_id: text, metric, node: text,
    direction: one_of("incoming", "outgoing"), relevance: real, parts: list(attribution_part),
  }),
  paths_ready: struct({
    type: tag("paths_ready"), request_id: count, run_id: text, metric, nodes: list(graph_node), edges: list(edge),
    shown: real,
  }),
  overview_ready: struct({
    type: tag("overview_ready"), request_id: count, run_id: text, metric, layer_line: tensor_check,
    direct_heads: tensor_check, direct_mlps: tensor_check, direct_bias: tensor_check, relevance_heads: tensor_check,
    relevance_mlps: tensor_check, embed: real, final_bias: real, neurons: list(component),
    neuron_values: tensor_check, shown: real,
  }),
  relevance_ready: struct({
    type: tag("relevance_ready"), request_id: count, run_id: text, metric,
    method: one_of("frozen", "gradient_x_input", "integrated_gradients"), tokens: tensor_check, bias: real,
    total: real, error: real, placed: with_default(real, 0),
  }),
  effects_ready: struct({
    type: tag("effects_ready"), request_id: count, run_id: text, metric,
    scope: one_of("attn", "heads", "listed", "mlps", "neurons"), ablation: one_of("mean", "zero"), everywhere: flag,
    components: list(component), effects: tensor_check, probs: tensor_check, clean_prob: real,
    attributed: optional(tensor_check), spearman: optional(real), sign_agreement: optional(real), secs: real,
  }),
  patching_ready: struct({
    type: tag("patching_ready"), request_id: count, run_id: text, metric, corrupted_value: real,
    clean_tokens: list(text), corrupted_tokens: list(text), first_difference: count, resid_pre: tensor_check,
    attn_out: tensor_check, mlp_out: tensor_check, heads_last: tensor_check, heads_all: tensor_check,
    resid_distance: tensor_check, head_norm_difference: tensor_check, n_patches: count, secs: real,
  }),
  comparison_ready: struct({
    type: tag("comparison_ready"), request_id: count, run_id: text, pos: count, without_interventions: flag,
    other_tokens: list(text), differing: list(count), first_difference: optional(count), target_id: count,
    target_text: text, distractor_id: optional(count), distractor_text: optional(text),
    other_top_tokens: list(top_token), other_logprob: real, other_entropy: real, logprob: real,
    other_lens_texts: optional(list(text)), other: compared_tensors, difference: compared_tensors, secs: real,
  }),
  head_scores_ready: struct({
    type: tag("head_scores_ready"), request_id: count, run_id: text, scores: list(head_score), n_random_tokens: count,
  }),
  head_profile_ready: struct({
    type: tag("head_profile_ready"), request_id: count, run_id: text, layer: count, head_index: count,
    query_pos: count, pattern: tensor_check, entropy: tensor_check, score: head_score, reads: list(read_token),
    feeders: list(feeder),
  }),
  neuron_profile_ready: struct({
    type: tag("neuron_profile_ready"), request_id: count, run_id: text, layer: count, neuron_index: count,
    promoted: list(top_token), suppressed: list(top_token), driven_by: list(top_token),
    contexts: list(neuron_context), alike_in: list(feeder), alike_out: list(feeder), histogram: tensor_check,
    histogram_edges: tensor_check, past_contexts: with_default(list(neuron_context), []),
    n_past_runs: with_default(count, 0), n_past_tokens: with_default(count, 0),
  }),
  lens_ready: struct({
    type: tag("lens_ready"), request_id: count, run_id: text, pos: count, target_id: count, target_text: text,
    notice: optional(text), top: list(list(top_token)), entropy: tensor_check, rank: tensor_check,
    logprob: tensor_check,
  }),
  head_lens_ready: struct({
    type: tag("head_lens_ready"), request_id: count, run_id: text, pos: count, target_id: count, target_text: text,
    notice: optional(text), head_token_id: tensor_check, head_value: tensor_check, head_rank: tensor_check,
    mlp_token_id: tensor_check, mlp_value: tensor_check, mlp_rank: tensor_check, words: list(token_info),
    direct_heads: tensor_check, direct_mlps: tensor_check, direct_bias: tensor_check, embed: real, final_bias: real,
    total: real,
  }),
  stream_pca_ready: struct({
    type: tag("stream_pca_ready"), request_id: count, run_id: text, scaling: one_of("none", "rms"), skip_first: count,
    coordinates: tensor_check, explained: tensor_check, promoted: list(list(top_token)),
    suppressed: list(list(top_token)),
  }),
  attention_entropy_ready: struct({
    type: tag("attention_entropy_ready"), request_id: count, run_id: text, pos: count, entropy: tensor_check,
    top_key: tensor_check, top_weight: tensor_check,
  }),
};
