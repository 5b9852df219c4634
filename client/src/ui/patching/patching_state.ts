// State of the view of two prompts: what is written, what is asked, and which maps are looked at.
import { signal, type Signal } from "@preact/signals";

export type MapGroup = "layers" | "heads" | "apart";

export interface PatchingState {
  /** The second prompt as it is written; none: nothing was written, and the run's own prompt stands there. */
  corrupted_prompt: Signal<string | null>;
  group: Signal<MapGroup>;
  /** What is looked at: the patching maps, or both runs side by side. */
  looks_at: Signal<"patching" | "comparison">;
  /** The other run has none of the interventions. */
  without_interventions: Signal<boolean>;
}

export function create_patching_state(): PatchingState {
  return {
    corrupted_prompt: signal<string | null>(null),
    group: signal<MapGroup>("layers"),
    looks_at: signal<"patching" | "comparison">("patching"),
    without_interventions: signal(false),
  };
}
