// The text as chips: click moves the whole view to a token, hover shows what the model almost said.
import { effect, useComputed, useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { missing_analysis, missing_channel } from "../../store/capabilities";
import type { Store } from "../../store/store";
import { has_twin } from "../../store/twin";
import type { TokenChip } from "../../store/types";
import { ChipList } from "./chip_list";
import { METRIC_RANGE, tint_of } from "./chip_tint";
import { number_text, percent_text, token_quote } from "../format";
import { IconButton } from "../icons";
import { ProbBars } from "../drawer/prob_bars";
import { use_page, type ChipMetric, type Page } from "../page";
import { IMPORTANCE_WORDS, is_importance, keep_importance } from "../why/importance";
import { ImportanceState } from "../why/importance_state";

interface Hovered {
  chip: TokenChip;
  x: number;
  y: number;
}

const NONE: ReadonlySet<number> = new Set();

/** Where the run beside this one has another token; the same for every position that was asked about. */
function differing_positions({ analysis: { comparison } }: Store): ReadonlySet<number> {
  const [answer] = comparison.answers.value.values();
  return answer && answer.differing.length > 0 ? new Set(answer.differing) : NONE;
}

/** The other run's token, where it is another. */
function other_token(page: Page, pos: number): string | null {
  const [answer] = page.store.analysis.comparison.answers.value.values();
  return answer?.differing.includes(pos) ? (answer.other_tokens[pos] ?? null) : null;
}

export function TextStrip(): JSX.Element {
  const page = use_page();
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<ChipList | null>(null);
  const hovered = useSignal<Hovered | null>(null);
  useEffect(() => (root.current ? keep_chips(root.current, page, list) : undefined), [page]);
  const point = (event: MouseEvent | FocusEvent): void => {
    const chip = list.current?.chip_at(event.target) ?? null;
    const box = chip && list.current?.element_at(chip.pos)?.getBoundingClientRect();
    hovered.value = chip && box ? { chip, x: box.left, y: box.bottom } : null;
  };
  const is_empty = useComputed(() => page.store.tokens.value.length === 0).value; // not once a token
  return (
    <section class="text-strip" aria-label="Text, token by token">
      <MetricPicker metric={page.state.chip_metric} />
      <div class="chips" ref={root} role="toolbar" aria-label="Tokens"
        onClick={(event) => {
          const chip = list.current?.chip_at(event.target);
          if (chip) page.actions.select_pos(chip.pos);
        }}
        onMouseOver={point} onMouseLeave={() => (hovered.value = null)}
        onFocusIn={point} onFocusOut={() => (hovered.value = null)} />
      {is_empty && <p class="strip-hint">Type a prompt above and press Run: each token appears here as it is made.</p>}
      <FollowButtons />
      {hovered.value && <ChipCard hovered={hovered.value} />}
    </section>
  );
}

/** Keep the chips in line with the store until the returned function is called. */
function keep_chips(root: HTMLElement, page: Page, ref: { current: ChipList | null }): () => void {
  const { store, state } = page;
  const list = new ChipList(root, store);
  ref.current = list;
  const ends = [
    effect(() => list.update(store.tokens.value, store.run.value?.n_prompt_tokens ?? 0, state.chip_metric.peek())),
    effect(() => {
      void store.analysis.relevance.slot.value;
      list.retint(state.chip_metric.value);
    }),
    effect(() => list.mark_differing(differing_positions(store))),
    keep_importance(page),
    effect(() => list.mark_current(store.current_pos.value)),
    store.history.subscribe((pos) => (pos >= 0 ? list.step_arrived(pos, state.chip_metric.peek()) : undefined)),
  ];
  return () => ends.forEach((end) => end());
}

function MetricPicker({ metric }: { metric: Signal<ChipMetric> }): JSX.Element {
  const { store } = use_page();
  const range = METRIC_RANGE[metric.value];
  const no_lens = missing_channel(store, "logit_lens");
  const no_importance = missing_analysis(store, "relevance");
  return (
    <div class="metric">
      <label title="What tints the tokens">
        <span class="visually-hidden">Tint the tokens by</span>
        <select value={metric.value} onChange={(event) => (metric.value = event.currentTarget.value as ChipMetric)}>
          <option value="surprise">Surprise</option>
          <option value="entropy">Entropy</option>
          <option value="settled" disabled={no_lens !== null} title={no_lens ?? undefined}>Settled at layer</option>
          <option value="twin_kl" disabled={!has_twin(store)} title="How far the clean twin's prediction of each token is from this run's">Clean twin (KL)</option>
          <option value="none">No tint</option>
          <optgroup label="Importance for the next token">
            {Object.entries(IMPORTANCE_WORDS).map(([value, words]) => (
              <option key={value} value={value} disabled={no_importance !== null} title={no_importance ?? undefined}>{words}</option>
            ))}
          </optgroup>
        </select>
      </label>
      {metric.value !== "none" && (
        <div class="tint-legend" aria-hidden="true" data-signed={is_importance(metric.value) || undefined}>
          <span>{range.low}</span><i /><span>{range.high}</span>
        </div>
      )}
      {is_importance(metric.value) && <ImportanceState metric={metric.value} />}
    </div>
  );
}

function FollowButtons(): JSX.Element {
  const { store, actions } = use_page();
  const [pos, newest] = [store.current_pos.value, store.tokens.value.length - 1];
  return (
    <div class="walk" role="group" aria-label="Walk through the tokens">
      <IconButton icon="left" label="Token before" keys="←" disabled={pos <= 0} onClick={() => actions.move_pos(-1)} />
      <IconButton icon="right" label="Token after" keys="→" disabled={pos < 0 || pos >= newest}
        onClick={() => actions.move_pos(1)} />
      <button type="button" class="button small" aria-pressed={store.follow.value} id="follow"
        title="Go along with the newest token (End)" onClick={() => actions.follow()}>Follow</button>
    </div>
  );
}

function ChipCard({ hovered }: { hovered: Hovered }): JSX.Element {
  const page = use_page();
  const { chip } = hovered;
  const before = page.store.history.get(chip.pos - 1);
  const tint = tint_of(page.store, chip, page.state.chip_metric.value);
  const other = other_token(page, chip.pos);
  const left = Math.max(8, Math.min(hovered.x, window.innerWidth - 276));
  return (
    <div class="chip-card" role="tooltip" style={{ left: `${left}px`, top: `${hovered.y + 6}px` }}>
      <div class="card-title">
        <b>{token_quote(chip.text)}</b>
        <span class="muted">position {chip.pos} · id {chip.token_id}</span>
      </div>
      {other !== null && <p>In the other run: <b>{token_quote(other)}</b></p>}
      {chip.logprob !== null && (
        <p class="muted">
          probability {percent_text(Math.exp(chip.logprob))}
          {chip.entropy !== null && ` · entropy ${number_text(chip.entropy)} nat`}
          {tint && page.state.chip_metric.value === "settled" && ` · ${tint.text}`}
        </p>
      )}
      {tint && is_importance(page.state.chip_metric.value) && <p>{tint.text}</p>}
      {before?.twin && chip.logprob !== null && (
        <p>
          Clean twin: probability {percent_text(Math.exp(before.twin.logprob))}, KL {number_text(before.twin.kl)} nat
          {before.twin.chosen_id !== null && before.twin.chosen_id !== chip.token_id && <>; it went on with <b>{token_quote(before.twin.chosen_text ?? "")}</b></>}
        </p>
      )}
      {before && before.top_tokens.length > 0 ? (
        <>
          <p class="card-heading">{chip.generated ? "It almost said" : "The model expected"}</p>
          <ProbBars tokens={before.top_tokens.slice(0, 6)} chosen_id={chip.token_id} />
        </>
      ) : (
        <p class="muted">{chip.pos === 0 ? "The first token: nothing predicts it." : "Its prediction has not arrived."}</p>
      )}
    </div>
  );
}
