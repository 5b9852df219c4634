// Heads by what they do here: those that look most at the marked tokens, those that carry most of a Why answer, or of
// these the ones that look there too.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { add_notice } from "../../store/store";
import { token_quote } from "../format";
import { use_page } from "../page";
import { NumberWritten } from "../written_field";
import { heads_with_most, looks_at } from "./turn_draft";
import { key_words } from "./spec_words";

const MOST = 1000;

export function FindHeads({ query, keys }: { query: number; keys: readonly number[] }): JSX.Element {
  const { store } = use_page();
  const wanted = useSignal(12);
  const info = store.model_info.value;
  const overview = store.analysis.overview.slot.value.answer;
  const tokens = store.tokens.value;
  /** Percent of their look that heads that add must have on the marked tokens; null: any head. */
  const least = useSignal<number | null>(null);
  const pick = (scores: (looks: readonly number[]) => readonly number[]): void => {
    const looks = info && looks_at(store.history.get(query), keys, info);
    const found = looks ? heads_with_most(scores(looks), wanted.peek(), info.n_heads) : [];
    if (found.length > 0) store.picked.value = found;
    else add_notice(store, "fault", looks ? `No such head looks there from ${query}.` : `No attention of position ${query} has arrived.`);
  };
  const carrying = (): void => {
    if (!overview || !info) return;
    const added = Array.from(overview.direct_heads.values);
    const percent = least.peek();
    if (percent === null) store.picked.value = heads_with_most(added, wanted.peek(), info.n_heads);
    else pick((looks) => added.map((value, at) => (looks[at]! > percent / 100 ? value : 0)));
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
      <button type="button" class="button small" id="find-looking" disabled={keys.length === 0 || query < 0} onClick={() => pick((looks) => looks)}
        title="By the attention that has come, summed over the marked tokens">
        look most from {query} {token_quote(tokens[query]?.text ?? "")} at {keys.length > 0 ? key_words(keys, tokens) : "the marked tokens"}
      </button>
      <button type="button" class="button small" id="find-carrying" disabled={!overview || (least.value !== null && keys.length === 0)} onClick={carrying}
        title={overview ? "The largest direct contributions of the Why tab" : "Ask in the Why tab first"}>
        add most to {overview ? `${token_quote(overview.metric.target_text)} (Why)` : "the Why answer"}
      </button>
      <label class="field-row" title="Of heads that add, only those that look at the marked tokens so much; empty: all">… and look there with over
        <NumberWritten class="pos-field" min={0} max={100} step={1} value={least.value ?? ""} placeholder="any"
          aria-label="Percent of the look that must be on the marked tokens; empty: any head" on_written={(text) => {
            const percent = text === "" ? NaN : Number(text);
            least.value = percent >= 0 && percent <= 100 ? percent : null;
          }} />
        %
      </label>
    </div>
  );
}
