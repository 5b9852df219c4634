// The comparison follows the shown token: what is looked at is asked about, when the run is at rest.
import { effect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Page } from "../page";

/** Not before the shown token has rested so long: walking through a text asks nothing on the way. */
const REST_MS = 150;

export function use_comparison(page: Page): void {
  useEffect(() => follow_token(page), [page]);
}

/** Ask about the shown token until the returned function is called. */
export function follow_token({ store, actions }: Page): () => void {
  const { comparison } = store.analysis;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const end = effect(() => {
    const pos = store.current_pos.value;
    const run = store.run.value;
    const is_wanted = comparison.other_run.value !== null && !comparison.answers.value.has(pos);
    if (timer !== null) clearTimeout(timer);
    const is_at_rest = run?.state === "paused" || run?.state === "finished";
    if (!is_wanted || !is_at_rest || store.connection.value !== "open") return;
    timer = setTimeout(() => {
      const step = store.history.get(pos);
      if (!step) return;
      const pair = { target: step.direct_target_id, distractor: step.direct_distractor_id };
      void comparison.ask(actions.ask, pos, pair);
    }, REST_MS);
  });
  return () => {
    end();
    if (timer !== null) clearTimeout(timer);
  };
}
