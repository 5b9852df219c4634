// Turning attention: which heads, which token looks, where to.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Told } from "../../connection/requests";
import type { Component, InterventionSpec } from "../../protocol/generated";
import { add_notice } from "../../store/store";
import { token_quote } from "../format";
import { announce_taken, use_page, type Page } from "../page";
import { RefusalWords, use_refusal } from "../refusal";
import type { Shown } from "../shown_step";
import { ArcStrip, MARK_MODES } from "./arc_strip";
import { named_spec } from "./draft";
import { FindHeads } from "./find_heads";
import { Picked } from "./picked";
import { PositionsField } from "./positions_field";
import { operation_words } from "./spec_words";
import { TurnFields } from "./turn_fields";
import {
  as_operation, ATTENTION_OPERATIONS, edit_of, mean_attention, new_turn, positions_of_text, query_of, turn_problem,
  with_arc, with_mark, with_marks,
} from "./turn_draft";

/** The heads that a change is for: those picked, or else the selected one. */
export function heads_meant({ store }: Page): Component[] {
  const picked = store.picked.value.filter((component) => component.kind === "head");
  const selection = store.selection.value;
  return picked.length > 0 ? picked : selection?.kind === "head" ? [selection] : [];
}

export function TurnPanel({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const { store, state } = page;
  const info = store.model_info.value;
  const { turn, turn_marks } = state.interventions;
  const draft = turn.value;
  const can = (operation: string): boolean => info?.capabilities.operations.some((known) => known === operation) ?? false;
  if (info && !ATTENTION_OPERATIONS.some(({ operation }) => can(operation))) {
    return <p class="muted pad">This model's attention cannot be changed.</p>;
  }
  if (!store.run.value) return <p class="muted pad">Run a prompt first: its tokens appear here, to be joined by arcs.</p>;
  const heads = heads_meant(page);
  const query = query_of(draft) ?? shown.step.value.pos;
  const weights = mean_attention(store.history.get(query), heads);
  const mark = (pos: number): void => {
    turn.value = with_mark(turn.peek(), turn_marks.peek(), pos);
    if (turn_marks.peek() === "query") turn_marks.value = "keys";
  };
  const drag = (from: number, to: number): void => {
    const mode = turn_marks.peek() === "from_keys" ? "from_keys" : "keys";
    turn.value = with_arc(turn.peek(), mode, from, to);
  };
  return (
    <div class="turn">
      <section class="turn-heads" aria-label="Heads to turn">
        <h3>Heads {heads.length > 0 && <span class="count">{heads.length}</span>}</h3>
        <Picked only_heads />
        <FindHeads query={query} keys={[...edit_of(draft).keys, ...(edit_of(draft).from_keys ?? [])]} />
      </section>
      <section class="turn-arcs" aria-label="Arcs">
        <div class="turn-tools">
          <div class="segmented" role="group" aria-label="What to do to attention">
            {ATTENTION_OPERATIONS.map(({ operation, label, hint }) => (
              <button type="button" key={operation} aria-pressed={draft.operation === operation} disabled={!can(operation)}
                title={can(operation) ? hint : "This model cannot do that."}
                onClick={() => (turn.value = as_operation(turn.peek(), operation))}>{label}</button>
            ))}
          </div>
          <div class="segmented" role="group" aria-label="What a click on a token marks">
            {MARK_MODES.filter(({ mode }) => mode !== "from_keys" || draft.operation === "attention_turn").map(({ mode, label, hint }) => (
              <button type="button" key={mode} data-mark-mode={mode} aria-pressed={turn_marks.value === mode} title={hint}
                onClick={() => (turn_marks.value = mode)}>{mode === "keys" && draft.operation === "attention_knockout" ? "Not at" : label}</button>
            ))}
          </div>
          <button type="button" class="button small" onClick={() => {
            turn.value = new_turn();
            turn_marks.value = "query";
          }}>Clear</button>
          <Apply draft={draft} heads={heads} />
        </div>
        <ArcStrip draft={draft} shown_query={query} weights={weights} on_mark={mark} on_drag={drag} />
        <MarkWord query={query} />
        <TurnWords draft={draft} heads={heads} query={query} />
      </section>
      <section class="turn-fields" aria-label="Weights and positions">
        <TurnFields draft={draft} edit={(change) => (turn.value = change(turn.peek()))} />
        <PositionsField positions={draft.positions}
          edit={(change) => (turn.value = { ...turn.peek(), positions: change(turn.peek().positions) })} />
      </section>
    </div>
  );
}

/** Words by name: what a click does, without a pointer and for several tokens at once. */
function MarkWord({ query }: { query: number }): JSX.Element {
  const { store, state } = use_page();
  const { turn, turn_marks } = state.interventions;
  const typed = useSignal("");
  const mark = (event: Event): void => {
    event.preventDefault();
    const last = turn_marks.peek() === "query" ? store.tokens.peek().length - 1 : query;
    const found = positions_of_text(store.tokens.peek(), typed.peek(), last);
    if (found.length === 0) {
      add_notice(store, "fault", `“${typed.peek().trim()}” does not stand in the text up to position ${last}.`);
      return;
    }
    turn.value = with_marks(turn.peek(), turn_marks.peek(), found);
    typed.value = "";
  };
  return (
    <form class="set-row mark-word" onSubmit={mark}>
      <input type="text" value={typed.value} placeholder="or write a word of the text" aria-label="Word to mark" spellcheck={false}
        autocomplete="off" onInput={(event) => (typed.value = event.currentTarget.value)} />
      <button type="submit" class="button small" disabled={typed.value.trim() === ""}>Mark</button>
    </form>
  );
}

function TurnWords({ draft, heads, query }: { draft: InterventionSpec; heads: readonly Component[]; query: number }): JSX.Element {
  const { store } = use_page();
  const chip = store.tokens.value[query];
  if (edit_of(draft).keys.length === 0) {
    return (
      <p class="muted turn-words">
        Drag from the token that looks to the one it should look at, here or in the picture, or click one after the other. Faint arcs: where
        {heads.length === 1 ? " the head looks" : ` the ${heads.length} heads look`} from {query} {token_quote(chip?.text ?? "")} now.
      </p>
    );
  }
  return <p class="turn-words" role="status">{operation_words(draft, store.tokens.value, new Map())}.</p>;
}

function Apply({ draft, heads }: { draft: InterventionSpec; heads: readonly Component[] }): JSX.Element {
  const page = use_page();
  const refusal = use_refusal();
  const problem = turn_problem(draft, heads);
  const is_over = page.store.run.value?.state === "finished";
  const note = problem ?? (is_over ? "This run has ended: it holds for the next one." : null);
  return (
    <>
      <button type="button" class="button small primary" id="turn-apply" disabled={problem !== null}
        onClick={() => apply(page, draft, heads, refusal.anew())}>
        {heads.length > 1 ? `Apply to ${heads.length} heads` : "Apply"}
      </button>
      {note && <span class="muted field-note" role="status">{note}</span>}
      <RefusalWords words={refusal.words} />
    </>
  );
}

function apply({ store, actions, state }: Page, draft: InterventionSpec, heads: readonly Component[], told: Told): void {
  const spec = named_spec({ ...draft, components: [...heads] }, store.interventions.peek());
  const answer = actions.change((specs) => [...specs, spec], told);
  void announce_taken(state, answer, () => `${heads.length} heads: ${operation_words(spec, store.tokens.peek(), new Map())}`);
}
