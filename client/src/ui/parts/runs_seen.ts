// The runs that this tab has watched: their ids are keys, by which the server lets a neuron's past be looked through.
import { effect, signal, type ReadonlySignal } from "@preact/signals";
import type { Store } from "../../store/store";

const KEY = "livelens.runs_seen";
/** As many as a question may name (`RequestNeuronProfile.past_run_ids`). */
export const MAX_RUNS_SEEN = 64;

/** This tab's alone, and gone with it: another tab is another viewer. */
function read_kept(): string[] {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    const ids = Array.isArray(value) ? value.filter((id) => typeof id === "string" && id.length > 0 && id.length <= 64) : [];
    return ids.slice(-MAX_RUNS_SEEN) as string[];
  } catch {
    return []; // no storage in this browser or frame, or not ours: the page works without
  }
}

export interface RunsSeen {
  /** Newest last. */
  ids: ReadonlySignal<readonly string[]>;
  /** Note every run that is watched from now on; until the result is called. */
  keep(store: Store): () => void;
}

export function create_runs_seen(): RunsSeen {
  const ids = signal<readonly string[]>(read_kept());
  return {
    ids,
    keep: (store) => effect(() => {
      const run_id = store.run.value?.run_id;
      if (run_id === undefined || ids.peek().at(-1) === run_id) return;
      ids.value = [...ids.peek().filter((id) => id !== run_id), run_id].slice(-MAX_RUNS_SEEN);
      try {
        sessionStorage.setItem(KEY, JSON.stringify(ids.peek()));
      } catch {
        // as above
      }
    }),
  };
}
