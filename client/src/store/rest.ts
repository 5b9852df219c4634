// Work that waits until a run rests, or until nothing that it depends on has changed for a moment.
import { effect } from "@preact/signals";
import type { RunView } from "./types";

/** Whether no token of the run is being computed: only then are questions asked without being pressed for. */
export function is_at_rest(run: RunView | null): boolean {
  return run?.state === "paused" || run?.state === "finished";
}

/**
 * Do what `wanted` gives, once none of the signals that it reads has changed for `rest_ms`; it gives null where there
 * is nothing to do. Until the returned function is called.
 */
export function once_settled(rest_ms: number, wanted: () => (() => void) | null): () => void {
  return effect(() => {
    const work = wanted();
    if (!work) return undefined;
    const timer = setTimeout(work, rest_ms);
    return () => clearTimeout(timer);
  });
}
