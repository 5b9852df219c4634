// State of the view of two prompts: what is written, and which maps are looked at.
import { signal, type Signal } from "@preact/signals";

export type MapGroup = "layers" | "heads" | "apart";

export interface PatchingState {
  /** The second prompt as it is written; none: nothing was written, and the run's own prompt stands there. */
  corrupted_prompt: Signal<string | null>;
  group: Signal<MapGroup>;
}

export function create_patching_state(): PatchingState {
  return { corrupted_prompt: signal<string | null>(null), group: signal<MapGroup>("layers") };
}
