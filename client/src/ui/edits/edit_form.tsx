// What an edit is made of: a text, the subject in it, the word that is wanted after it, and the matrix.
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import type { ModelInfo, RankOneRecipe } from "../../protocol/generated";
import { word_label } from "../format";
import { Working } from "../parts/asking";
import { use_page } from "../page";
import { keep_answer } from "./edit_actions";
import { asked_of, MAX_PROMPT_TOKENS, usual_layer, words_of } from "./edit_recipe";
import type { EditDraft } from "./edits_state";

export function EditForm({ info }: { info: ModelInfo }): JSX.Element {
  const page = use_page();
  const { store, actions, state } = page;
  const { draft, inquiry } = state.edits;
  const { progress, error } = inquiry.slot.value;
  const asked = asked_of(draft, info, store.tokens.value);
  const problem = !store.run.value ? "Run a prompt first." : typeof asked === "string" ? asked : null;
  const make = (event: Event): void => {
    event.preventDefault();
    if (typeof asked === "string") return;
    void inquiry.ask(actions.ask, { type: "request_rank_one_edit", ...asked }).then((answer) => {
      if (answer) keep_answer(page, answer);
    });
  };
  return (
    <form class="direction-form edit-form" onSubmit={make}>
      <SourceField draft={draft} />
      <Subject draft={draft} />
      <label class="field-row"><span>Wanted</span>
        <input type="text" value={draft.wanted.value} aria-label="Wanted word" placeholder="“ Rome”: with its space" spellcheck={false}
          maxLength={256} autocomplete="off" onInput={(event) => (draft.wanted.value = event.currentTarget.value)} />
      </label>
      <Matrix draft={draft} info={info} />
      <More draft={draft} />
      <div class="set-row">
        {progress ? <Working progress={progress} on_cancel={() => inquiry.give_up()} />
          : <button type="submit" class="button small primary" id="edit-make" disabled={problem !== null}>Make the edit</button>}
        {!progress && problem && <span class="muted field-note" role="status">{problem}</span>}
      </div>
      {error && <p class="off-mark" role="alert">{error}</p>}
    </form>
  );
}

function SourceField({ draft }: { draft: EditDraft }): JSX.Element {
  return (
    <label class="field-row"><span>Text</span>
      <select value={draft.source.value} aria-label="The text that the edit is made from"
        onChange={(event) => (draft.source.value = event.currentTarget.value as "run" | "typed")}>
        <option value="run">this run, to its last token</option>
        <option value="typed">a prompt that I type</option>
      </select>
    </label>
  );
}

function Subject({ draft }: { draft: EditDraft }): JSX.Element {
  const { store } = use_page();
  if (draft.source.value === "run") {
    const tokens = store.tokens.value.slice(0, MAX_PROMPT_TOKENS);
    return (
      <Chips label="Subject's last token" chosen={draft.key_pos}
        chips={tokens.map(({ text, pos }) => ({ text: word_label(text), value: pos }))} />
    );
  }
  return (
    <>
      <textarea class="reference-text" rows={2} aria-label="Text of the edit" value={draft.prompt.value}
        placeholder="A prompt that ends where the wanted word is to come" onInput={(event) => {
          draft.prompt.value = event.currentTarget.value;
        }} />
      <Chips label="Subject's last word" chosen={draft.word_end}
        chips={words_of(draft.prompt.value).map(({ text, end }) => ({ text, value: end }))} />
    </>
  );
}

interface ChipsProps {
  label: string;
  chips: { text: string; value: number }[];
  chosen: Signal<number | null>;
}

function Chips({ label, chips, chosen }: ChipsProps): JSX.Element | null {
  if (chips.length === 0) return null;
  return (
    <div class="edit-subject" role="group" aria-label={label}>
      <span class="muted field-note">{label}</span>
      <span class="edit-chips">
        {chips.map(({ text, value }) => (
          <button type="button" key={value} class="edit-chip" aria-pressed={chosen.value === value}
            onClick={() => (chosen.value = value)}>{text}</button>
        ))}
      </span>
    </div>
  );
}

function Matrix({ draft, info }: { draft: EditDraft; info: ModelInfo }): JSX.Element {
  return (
    <div class="field-row"><span>Matrix</span>
      <select value={draft.matrix.value} aria-label="Matrix"
        onChange={(event) => (draft.matrix.value = event.currentTarget.value as RankOneRecipe["matrix"])}>
        <option value="mlp_out">W_out of the MLP</option>
        <option value="ov">W_O of attention</option>
      </select>
      <Numeric label="of layer" held={draft.layer} placeholder={String(usual_layer(info))} />
      {draft.matrix.value === "ov" && <Numeric label="head" held={draft.head} placeholder="all" />}
    </div>
  );
}

function Numeric({ label, held, placeholder }: { label: string; held: Signal<string>; placeholder?: string }): JSX.Element {
  return (
    <label class="edit-number"><span class="muted">{label}</span>
      <input type="text" inputMode="numeric" class="pos-field" value={held.value} placeholder={placeholder} autocomplete="off"
        aria-label={label} onInput={(event) => (held.value = event.currentTarget.value)} />
    </label>
  );
}

function More({ draft }: { draft: EditDraft }): JSX.Element {
  const text = (label: string, held: Signal<string>): JSX.Element => (
    <textarea class="reference-text" rows={2} aria-label={label} placeholder={`${label}, one a line`} value={held.value}
      onInput={(event) => (held.value = event.currentTarget.value)} />
  );
  return (
    <details class="edit-more">
      <summary>How it is made</summary>
      <label class="field-row"><span>Key</span>
        <select value={draft.covariance.value} aria-label="What the key is told apart from"
          onChange={(event) => (draft.covariance.value = event.currentTarget.value as EditDraft["covariance"]["value"])}>
          <option value="built_in">told apart from usual texts</option>
          <option value="prompt">told apart from this text</option>
          <option value="none">as it stands there</option>
        </select>
      </label>
      <div class="field-row">
        <Numeric label="Steps, at most" held={draft.n_steps} />
        <Numeric label="At most, times the output's size" held={draft.clamp} />
      </div>
      {text("Put before the text too, to hold in other contexts", draft.prefixes)}
      {text("Other texts to measure; empty: some of the server's own", draft.spillover)}
    </details>
  );
}
