// A token's lens in words, all layers at once: asked when somebody looks for a moment, and kept.
import { useEffect } from "preact/hooks";
import type { LensAnswer } from "../../protocol/questions";
import { EMPTY_SLOT, type Slot } from "../../store/inquiry";
import type { StepRecord } from "../../store/types";
import { use_page } from "../page";

/** A pointer that only passes over asks nothing. */
const LOOK_MS = 120;

/** What the step's column is about: the same text under the same set has the same lens. */
function column_key(run_id: string, pos: number, step: StepRecord): string {
  return `${run_id} ${pos} ${step.revision} ${step.chosen_id}`;
}

/** The column of `pos`; nothing is asked where that is null. */
export function use_lens_column(pos: number | null, step: StepRecord | undefined): Slot<LensAnswer> {
  const { store, actions, state } = use_page();
  const { lens } = state;
  const run_id = store.run.value?.run_id ?? null;
  const key = run_id !== null && pos !== null && step ? column_key(run_id, pos, step) : null;
  useEffect(() => {
    if (key === null || pos === null) return undefined;
    const timer = setTimeout(() => {
      if (lens.columns_run !== run_id) lens.columns.clear();
      lens.columns_run = run_id;
      const slot = lens.columns.slots.peek().get(key);
      lens.columns.keep_only(new Set([key])); // what was looked away from is given up
      if (!slot?.answer) lens.columns.ask(key, actions.ask, { type: "request_lens", pos, target: null, n_tokens: 5 });
    }, LOOK_MS);
    return () => clearTimeout(timer);
  }, [key]);
  return (key !== null ? lens.columns.slots.value.get(key) : undefined) ?? EMPTY_SLOT;
}
