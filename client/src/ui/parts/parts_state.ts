// State of the views of what each part does: what is open, what was measured once and is kept.
import { signal, type Signal } from "@preact/signals";
import type { RequestEffects, RequestHeadScores } from "../../protocol/generated";
import type { Question } from "../../protocol/questions";
import { Inquiries } from "../../store/inquiry";
import type { FinderSort, Thresholds } from "./finder_rows";
import type { LensColour } from "./lens_colour";
import { create_runs_seen, type RunsSeen } from "./runs_seen";

type Asks<T extends Question["type"]> = Extract<Question, { type: T }>;
export type CausalScope = Exclude<RequestEffects["scope"], "listed">;

export interface PartsState {
  /** The inspector's profile is open: only then is one asked for. */
  profile_open: Signal<boolean>;
  /** Head scores by model: measured once, whatever run is watched. */
  head_scores: Inquiries<Asks<RequestHeadScores["type"]>>;
  finder_sort: Signal<FinderSort>;
  finder_search: Signal<string>;
  finder_least: Signal<Thresholds>;
  scope: Signal<CausalScope>;
  ablation: Signal<RequestEffects["ablation"]>;
  everywhere: Signal<boolean>;
  n_neurons: Signal<number>;
  lens_colour: Signal<LensColour>;
  runs_seen: RunsSeen;
}

export function create_parts_state(): PartsState {
  return {
    profile_open: signal(false),
    head_scores: new Inquiries(),
    finder_sort: signal<FinderSort>({ by: "induction", descending: true }),
    finder_search: signal(""),
    finder_least: signal<Thresholds>({}),
    scope: signal<CausalScope>("heads"),
    ablation: signal<RequestEffects["ablation"]>("zero"),
    everywhere: signal(false),
    n_neurons: signal(32),
    lens_colour: signal<LensColour>("prob"),
    runs_seen: create_runs_seen(),
  };
}
