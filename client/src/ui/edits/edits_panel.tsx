// Rank-1 edits of a weight matrix: made on the left, measured and put in force on the right.
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { ModelInfo } from "../../protocol/generated";
import { number_text } from "../format";
import { IconButton } from "../icons";
import { AMOUNT_RANGE, MAX_AMOUNT } from "../interventions/draft";
import { AmountField } from "../interventions/number_field";
import type { Change } from "../interventions/set_changes";
import { use_missing } from "../parts/asking";
import { use_page } from "../page";
import { RefusalWords, use_refusal } from "../refusal";
import { Switch } from "../switch";
import { edited_component, forget_edit, listed_spec, open_edit, save_edit, switch_edit } from "./edit_actions";
import { EditForm } from "./edit_form";
import { EditResult } from "./edit_result";
import type { HeldEdit } from "./edits_state";

export function EditsPanel(): JSX.Element {
  const page = use_page();
  const info = page.store.model_info.value;
  const missing = use_missing("rank_one_edit");
  const { held: { value: held }, problem } = page.state.edits;
  if (!info) return <p class="muted pad">No model yet.</p>;
  return (
    <div class="directions edits" onDragOver={(event) => event.preventDefault()} onDrop={(event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) void open_edit(page, file);
    }}>
      <section class="direction-make" aria-label="Make an edit">
        {missing ? <p class="muted">{missing}</p> : <EditForm info={info} />}
        <label class="button small file-button">Open a .safetensors…
          <input type="file" accept=".safetensors" class="visually-hidden" aria-label="Open an edit from a file"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void open_edit(page, file);
            }} />
        </label>
        {problem.value && <p class="off-mark" role="alert">{problem.value}</p>}
      </section>
      <section class="direction-list" aria-label="Edits" tabIndex={0}>
        {held.length === 0 && (
          <p class="muted">
            An edit adds one product of two vectors to a weight matrix, so that after one subject another word follows. It is laid
            over the weights while tokens are computed and never written into them: switched off, every bit is as it was.
          </p>
        )}
        {held.map((edit) => <Edit key={edit.info.edit_id} held={edit} info={info} />)}
      </section>
    </div>
  );
}

function Edit({ held, info }: { held: HeldEdit; info: ModelInfo }): JSX.Element {
  const page = use_page();
  const { store, actions } = page;
  const { name, recipe, edit_id, key_norm, value_norm } = held.info;
  const spec = listed_spec(store.interventions.value, edit_id);
  const range = AMOUNT_RANGE.rank_one_edit!;
  const can = info.capabilities.operations.includes("rank_one_edit");
  const refusal = use_refusal();
  const to = (amount: number): void => {
    const id = spec?.intervention_id;
    const change: Change = (specs) => specs.map((own) => (own.intervention_id === id ? { ...own, amount } : own));
    actions.change_live(`edit ${edit_id}`, change, refusal.anew());
  };
  const component = edited_component(recipe);
  return (
    <article class="direction edit" aria-label={name}>
      <div class="direction-head">
        <h3>{name}</h3>
        <button type="button" class="link" onClick={() => actions.select(component)}>{component_id(component)}</button>
        <span class="muted">key {number_text(key_norm)} · value {number_text(value_norm)} long</span>
        <button type="button" class="button small" aria-label={`Save ${name}`} onClick={() => save_edit(page, held)}>Save</button>
        <IconButton icon="close" label={`Forget ${name}`} onClick={() => forget_edit(page, edit_id)} />
      </div>
      <div class="field-row edit-force">
        <Switch checked={spec?.enabled ?? false} disabled={!can} label={`${name} in force`}
          on_change={(enabled) => void switch_edit(page, held, enabled, refusal.anew())}>
          {spec?.enabled ? "In force" : "Put in force"}
        </Switch>
        {spec && (
          <AmountField label="Strength" value={spec.amount} min={range.min} max={range.max} step={range.step} most={MAX_AMOUNT}
            on_move={to} on_rest={(amount) => {
              to(amount);
              actions.end_gesture();
            }} />
        )}
      </div>
      <RefusalWords words={refusal.words} />
      {held.made ? <EditResult made={held.made} recipe={recipe} /> : <p class="muted">From a file, a set, or before the page was loaded anew: what it does was not measured here.</p>}
    </article>
  );
}
