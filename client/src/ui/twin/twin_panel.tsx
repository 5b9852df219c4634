// The clean twin beside the run: where the interventions bite, and what would have been said without them.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { who_words } from "../../store/set_log";
import type { Store } from "../../store/store";
import { twin_fault, twin_row, twin_rows, twin_tokens, type TwinRow } from "../../store/twin";
import { ComparedTexts } from "../branches/compared_texts";
import { number_text, percent_text, token_quote } from "../format";
import { HistoryChart } from "../inspector/history_chart";
import { use_page } from "../page";
import { ComparedSwitch } from "../patching/compared_switch";
import type { Shown } from "../shown_step";
import { MODE_WORDS, TwinSwitch } from "./twin_switch";
import { TwinTable } from "./twin_table";

export function TwinPanel({ shown }: { shown: Shown }): JSX.Element {
  const { store, actions } = use_page();
  const version = shown.version.value;
  const tokens = store.tokens.value;
  const rows = useMemo(() => twin_rows(store), [version, tokens]);
  const clean = useMemo(() => twin_tokens(store), [version, tokens]);
  const is_running = store.run.value?.state === "running";
  const is_other_text = clean.length !== tokens.length || clean.some((chip, pos) => chip.token_id !== tokens[pos]?.token_id);
  return (
    <div class="twin" role="region" aria-label="Clean twin">
      <div class="twin-bar">
        <TwinSwitch />
        <TintSwitch />
        <ComparedSwitch />
        <span class="muted" id="twin-since">{since_words(store)}</span>
      </div>
      {rows.length === 0 ? <p class="muted">{gap_words(store)}</p> : (
        <>
          <Now row={twin_row(shown.step.value.step)} is_running={is_running} />
          <div class="twin-body">
            <div class="twin-along" tabIndex={0} role="group" aria-label="Along the text">
              {(is_other_text || store.run.value?.twin === "free_running") && (
                <ComparedTexts one={{ name: "this run", tokens }} other={{ name: "its clean twin", tokens: clean }}
                  on_pick={(pos) => actions.select_pos(pos)} is_growing={is_running} />
              )}
              {is_other_text && <p class="muted">From there on the two read different texts: so do the numbers.</p>}
              <Charts rows={rows} />
            </div>
            <TwinTable rows={rows} />
          </div>
        </>
      )}
    </div>
  );
}

function TintSwitch(): JSX.Element {
  const { store, state: { chip_metric } } = use_page();
  const is_on = chip_metric.value === "twin_kl";
  return (
    <button type="button" class="button small" id="twin-tint" aria-pressed={is_on} disabled={!store.twin_seen.value && !is_on}
      title="Tint each token of the text by how far the two predictions of it are apart"
      onClick={() => (chip_metric.value = is_on ? "surprise" : "twin_kl")}>Tint the text by KL</button>
  );
}

/** The shown token in a sentence; not said aloud for each token that comes. */
function Now({ row, is_running }: { row: TwinRow | null; is_running: boolean }): JSX.Element {
  if (!row) return <p class="muted">No twin ran at the shown token.</p>;
  const { text, chosen_text, prob, clean_prob, kl, entropy, clean_entropy, prefers_text } = row;
  return (
    <p class="twin-now" role={is_running ? undefined : "status"}>
      After {token_quote(text)}: KL <b id="twin-kl">{number_text(kl)}</b> nat
      {chosen_text !== null && (
        <>; {token_quote(chosen_text)} has <b id="twin-own-prob">{percent_text(prob)}</b> in this run,{" "}
          <b id="twin-clean-prob">{percent_text(clean_prob)}</b> in the clean twin</>
      )}
      {prefers_text !== null && <>, which would rather say <b id="twin-prefers">{token_quote(prefers_text)}</b></>}
      <span class="muted"> · entropy {number_text(entropy)} against {number_text(clean_entropy)} nat</span>
    </p>
  );
}

/** KL and the chosen token's probability along the text: a click shows that token. */
function Charts({ rows }: { rows: readonly TwinRow[] }): JSX.Element {
  const { store, actions } = use_page();
  const tokens = store.tokens.value;
  const n_positions = tokens.length;
  const along = (value_of: (row: TwinRow) => number | null) => {
    const known = rows.flatMap((row) => {
      const value = value_of(row);
      return value === null ? [] : [[row.pos, { value, exact: true }] as const];
    });
    return { values: new Map(known), n_positions };
  };
  const charts = useMemo(() => ({
    kl: along((row) => row.kl),
    prob: along(({ prob, clean_prob }) => (prob === null || clean_prob === null ? null : prob - clean_prob)),
  }), [rows, n_positions]);
  const shared = { pos: store.current_pos.value, tokens, on_pick: (pos: number) => actions.select_pos(pos) };
  return (
    <>
      <h3>KL from the clean twin, nat</h3>
      <HistoryChart history={charts.kl} {...shared} />
      <h3 title="Probability of the token that this run chose: in this run minus in its clean twin">Chosen token’s probability, this − clean</h3>
      <HistoryChart history={charts.prob} {...shared} />
    </>
  );
}

/** From where on the twin runs, and who switched it. */
function since_words(store: Store): string {
  const run = store.run.value;
  const wanted = store.twin_mode.value;
  if (!run || (run.state === "finished" && wanted !== run.twin)) {
    return wanted === "off" ? "" : "begins with the next run";
  }
  const by = run.twin_author === null ? "" : `, switched by ${who_words(run.twin_author, store.own_viewer_ids.value)}`;
  if (run.twin === "off") return by.slice(2);
  const from = run.twin_from_pos === null ? "from the next token on" : `from position ${run.twin_from_pos} on`;
  return `${MODE_WORDS[run.twin].label.toLowerCase()} ${from}${by}`;
}

function gap_words(store: Store): string {
  const fault = twin_fault(store);
  if (fault !== null) return `There is no clean twin here: ${fault}.`;
  if (store.twin_mode.value === "off") {
    return "Switch the twin on: the run is then carried a second time without your interventions, in the same forward "
      + "passes, so that every new token shows what they do. Same text: the twin reads this run's tokens. Own text: it "
      + "writes its own.";
  }
  return "The twin runs from the next token on.";
}
