// What is written in the form that begins a branch, and which run another is compared with.
import { signal, type Signal } from "@preact/signals";

export interface BranchesState {
  /** Text of the token to put at the place of branching; empty: the model chooses. */
  token_text: Signal<string>;
  /** Another seed; empty: the run's own, its draws continued. */
  seed: Signal<string>;
  /** run_id of the run that the watched one is compared with. */
  compared: Signal<string | null>;
}

export function create_branches_state(): BranchesState {
  return { token_text: signal(""), seed: signal(""), compared: signal<string | null>(null) };
}
