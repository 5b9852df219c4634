// The sets that the run has had: who put each in force and from which position; a click goes there.
import type { JSX } from "preact";
import type { InterventionSpec } from "../../protocol/generated";
import { logged_sets, who_words, type LoggedSet } from "../../store/set_log";
import { token_quote } from "../format";
import { use_page } from "../page";
import { target_words } from "./spec_words";

const SHOWN = 50;

export function SetHistory(): JSX.Element | null {
  const { store, state } = use_page();
  const { history_open } = state.interventions;
  const sets = logged_sets(store.run.value?.intervention_log ?? []);
  if (sets.length === 0) return null;
  return (
    <div class="set-history">
      <button type="button" class="section-toggle" id="set-history-toggle" aria-expanded={history_open.value}
        onClick={() => (history_open.value = !history_open.value)}>
        <span aria-hidden="true">{history_open.value ? "▾" : "▸"}</span> Who changed it <span class="count">{sets.length}</span>
      </button>
      {history_open.value && (
        <ol class="set-history-list" aria-label="Sets this run has had, newest first">
          {sets.slice(0, SHOWN).map((logged) => <HistoryEntry key={logged.revision} logged={logged} />)}
          {sets.length > SHOWN && <li class="muted">and {sets.length - SHOWN} before</li>}
        </ol>
      )}
    </div>
  );
}

function HistoryEntry({ logged }: { logged: LoggedSet }): JSX.Element {
  const { store, actions } = use_page();
  const { from_pos, revision, author } = logged;
  const token = store.tokens.value[from_pos];
  const who = who_words(author, store.own_viewer_ids.value);
  const is_reached = from_pos <= store.history.newest_pos;
  const place = `position ${from_pos}${token ? ` ${token_quote(token.text)}` : ""}`;
  return (
    <li data-author={who === "you" ? "you" : "other"}>
      <button type="button" class="set-history-entry" disabled={!is_reached} title={is_reached ? `Go to ${place}` : "Still to come"}
        onClick={() => actions.select_pos(from_pos)}>
        <span class="set-history-who">{who}</span>
        <span class="set-history-what">{change_words(logged)}</span>
        <span class="muted set-history-where">from {place}{logged.is_recomputed && ", recomputed"} · rev {revision}</span>
      </button>
    </li>
  );
}

/** What this set did to the one before it. */
export function change_words({ added, removed, changed, n_listed, n_on }: LoggedSet): string {
  const named = (specs: readonly InterventionSpec[], before: string, after = ""): string[] =>
    specs.length > 0 ? [`${before}${specs.slice(0, 2).map(target_words).join(", ")}${specs.length > 2 ? ` and ${specs.length - 2} more` : ""}${after}`] : [];
  if (n_listed === 0 && removed.length > 1) return "took everything away";
  const said = [...named(added, "+ "), ...named(removed, "− "), ...named(changed, "", n_on === 0 ? " off" : " changed")];
  return said.length > 0 ? said.join("; ") : "the same set in another order";
}
