// Which question is answered by which event. A question as its asker writes it has no ids yet.
import type { Decoded } from "./decode";
import type {
  AttentionEntropyReady, AttributionReady, ComparisonReady, DirectionReady, EffectsReady, HeadLensReady,
  HeadProfileReady, HeadScoresReady, LensReady, NeuronProfileReady, OverviewReady, PatchingReady, PathsReady,
  RankOneEditReady, RelevanceReady, RequestAttentionEntropy, RequestAttribution, RequestComparison, RequestDirection,
  RequestEffects, RequestHeadLens, RequestHeadProfile, RequestHeadScores, RequestLens, RequestNeuronProfile,
  RequestOverview, RequestPatching, RequestPaths, RequestRankOneEdit, RequestRelevance, RequestStreamPca,
  StreamPcaReady,
} from "./generated";

export type AttributionAnswer = Decoded<AttributionReady>;
export type PathsAnswer = Decoded<PathsReady>;
export type OverviewAnswer = Decoded<OverviewReady>;
export type RelevanceAnswer = Decoded<RelevanceReady>;
export type EffectsAnswer = Decoded<EffectsReady>;
export type PatchingAnswer = Decoded<PatchingReady>;
export type HeadProfileAnswer = Decoded<HeadProfileReady>;
export type HeadScoresAnswer = Decoded<HeadScoresReady>;
export type NeuronProfileAnswer = Decoded<NeuronProfileReady>;
export type LensAnswer = Decoded<LensReady>;
export type HeadLensAnswer = Decoded<HeadLensReady>;
export type StreamPcaAnswer = Decoded<StreamPcaReady>;
export type AttentionEntropyAnswer = Decoded<AttentionEntropyReady>;
export type ComparisonAnswer = Decoded<ComparisonReady>;
export type DirectionAnswer = Decoded<DirectionReady>;
export type RankOneEditAnswer = Decoded<RankOneEditReady>;

type Written<Q> = Omit<Q, "request_id" | "run_id">;
export type Question =
  | Written<RequestAttribution>
  | Written<RequestPaths>
  | Written<RequestOverview>
  | Written<RequestRelevance>
  | Written<RequestEffects>
  | Written<RequestPatching>
  | Written<RequestHeadProfile>
  | Written<RequestHeadScores>
  | Written<RequestNeuronProfile>
  | Written<RequestLens>
  | Written<RequestHeadLens>
  | Written<RequestStreamPca>
  | Written<RequestAttentionEntropy>
  | Written<RequestComparison>
  | Written<RequestDirection>
  | Written<RequestRankOneEdit>;

interface Answers {
  request_attribution: AttributionAnswer;
  request_paths: PathsAnswer;
  request_overview: OverviewAnswer;
  request_relevance: RelevanceAnswer;
  request_effects: EffectsAnswer;
  request_patching: PatchingAnswer;
  request_head_profile: HeadProfileAnswer;
  request_head_scores: HeadScoresAnswer;
  request_neuron_profile: NeuronProfileAnswer;
  request_lens: LensAnswer;
  request_head_lens: HeadLensAnswer;
  request_stream_pca: StreamPcaAnswer;
  request_attention_entropy: AttentionEntropyAnswer;
  request_comparison: ComparisonAnswer;
  request_direction: DirectionAnswer;
  request_rank_one_edit: RankOneEditAnswer;
}
export type AnswerTo<Q extends Question> = Answers[Q["type"]];

export const ANSWER_TYPES: { [T in Question["type"]]: Answers[T]["type"] } = {
  request_attribution: "attribution_ready",
  request_paths: "paths_ready",
  request_overview: "overview_ready",
  request_relevance: "relevance_ready",
  request_effects: "effects_ready",
  request_patching: "patching_ready",
  request_head_profile: "head_profile_ready",
  request_head_scores: "head_scores_ready",
  request_neuron_profile: "neuron_profile_ready",
  request_lens: "lens_ready",
  request_head_lens: "head_lens_ready",
  request_stream_pca: "stream_pca_ready",
  request_attention_entropy: "attention_entropy_ready",
  request_comparison: "comparison_ready",
  request_direction: "direction_ready",
  request_rank_one_edit: "rank_one_edit_ready",
};

export interface Progress {
  done: number;
  total: number;
}

/**
 * Ask about the run that is shown. Rejects with an Error whose message is one sentence for a person: the server's
 * own where it refuses. `given_up` tells the server to stop; the promise then rejects at once.
 */
export type Ask = <Q extends Question>(
  question: Q,
  on_progress?: (progress: Progress) => void,
  given_up?: AbortSignal,
) => Promise<AnswerTo<Q>>;
