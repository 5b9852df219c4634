// What the interventions panel remembers: what is being typed, which sets are kept.
import { signal, type Signal } from "@preact/signals";
import { read_saved_sets, type SavedSet } from "./saved_sets";

export interface InterventionsState {
  /** Ids that were on before the whole set was switched off: the same come back. */
  were_on: Signal<ReadonlySet<string>>;
  sets_open: Signal<boolean>;
  set_name: Signal<string>;
  /** Sets kept in this browser, newest first. */
  saved: Signal<readonly SavedSet[]>;
}

export function create_interventions_state(): InterventionsState {
  return {
    were_on: signal<ReadonlySet<string>>(new Set<string>()),
    sets_open: signal(false),
    set_name: signal(""),
    saved: signal<readonly SavedSet[]>(read_saved_sets()),
  };
}
