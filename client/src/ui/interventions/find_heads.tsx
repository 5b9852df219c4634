// Heads by what they do here: those that look most at the marked tokens, those that carry most of a Why answer.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { add_notice } from "../../store/store";
import { token_quote } from "../format";
import { use_page } from "../page";
import { heads_looking_at, heads_with_most } from "./turn_draft";
import { key_words } from "./spec_words";

const MOST = 1000;

export function FindHeads({ query, keys }: { query: number; keys: readonly number[] }): JSX.Element {
  const { store } = use_page();
  const wanted = useSignal(12);
  const info = store.model_info.value;
  const overview = store.analysis.overview.slot.value.answer;
  const tokens = store.tokens.value;
  const looking = (): void => {
    const found = info ? heads_looking_at(store.history.get(query), keys, wanted.peek(), info) : [];
    if (found.length === 0) add_notice(store, "fault", `No attention of position ${query} has arrived.`);
    else store.picked.value = found;
  };
  const carrying = (): void => {
    if (overview && info) store.picked.value = heads_with_most(overview.direct_heads.values, wanted.peek(), info.n_heads);
  };
  return (
    <div class="find-heads">
      <label class="field-row">Pick the
        <input type="number" class="pos-field" min={1} max={MOST} step={1} value={wanted.value} aria-label="How many heads"
          onChange={(event) => {
            const n = Math.round(Number(event.currentTarget.value));
            wanted.value = Number.isFinite(n) ? Math.min(MOST, Math.max(1, n)) : 12;
            event.currentTarget.value = String(wanted.value);
          }} />
        heads that
      </label>
      <button type="button" class="button small" id="find-looking" disabled={keys.length === 0 || query < 0} onClick={looking}
        title="By the attention that has come, summed over the marked tokens">
        look most from {query} {token_quote(tokens[query]?.text ?? "")} at {keys.length > 0 ? key_words(keys, tokens) : "the marked tokens"}
      </button>
      <button type="button" class="button small" id="find-carrying" disabled={!overview} onClick={carrying}
        title={overview ? "The largest direct contributions of the Why tab" : "Ask in the Why tab first"}>
        add most to {overview ? `${token_quote(overview.metric.target_text)} (Why)` : "the Why answer"}
      </button>
    </div>
  );
}
