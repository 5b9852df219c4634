// Beside the tint picker: how far the importance is worked out, and when it is there how complete it is.
import type { JSX } from "preact";
import { use_page } from "../page";
import { completeness_words, type ImportanceMetric } from "./importance";

export function ImportanceState({ metric }: { metric: ImportanceMetric }): JSX.Element {
  const { store, state } = use_page();
  const { progress } = store.analysis.relevance.slot.value;
  const words = completeness_words(store, metric);
  const cancel = (): void => {
    store.analysis.relevance.clear();
    state.chip_metric.value = "none";
  };
  return (
    <div class="tint-note-row">
      <p class="tint-note muted" role="status" id="completeness" title={words?.full}>{words?.short}</p>
      {progress && (
        <button type="button" class="button small" aria-label="Give up the importance" onClick={cancel}>Cancel</button>
      )}
    </div>
  );
}
