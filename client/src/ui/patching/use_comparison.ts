// The comparison follows the shown token: what is looked at is asked about, when the run is at rest.
import { useEffect } from "preact/hooks";
import { is_at_rest, once_settled } from "../../store/rest";
import type { Page } from "../page";

/** Not before the shown token has rested so long: walking through a text asks nothing on the way. */
const REST_MS = 150;

export function use_comparison(page: Page): void {
  useEffect(() => follow_token(page), [page]);
}

/** Ask about the shown token until the returned function is called. */
export function follow_token({ store, actions }: Page): () => void {
  const { comparison } = store.analysis;
  return once_settled(REST_MS, () => {
    const pos = store.current_pos.value;
    const is_wanted = comparison.other_run.value !== null && !comparison.answers.value.has(pos);
    if (!is_wanted || !is_at_rest(store.run.value) || store.connection.value !== "open") return null;
    return () => {
      const step = store.history.get(pos);
      if (!step) return;
      const pair = { target: step.direct_target_id, distractor: step.direct_distractor_id };
      void comparison.ask(actions.ask, pos, pair);
    };
  });
}
