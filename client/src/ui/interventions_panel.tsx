// Everything that is changed in the network, each with its switch and the position from which it holds.
import type { JSX } from "preact";
import { component_id } from "../layout/component_id";
import type { InterventionSpec } from "../protocol/generated";
import { effective_since } from "../store/query";
import { number_text, token_quote } from "./format";
import { IconButton } from "./icons";
import { use_page } from "./page";
import { Sets } from "./interventions/sets";
import { take_dropped_set } from "./interventions/set_actions";
import { Switch } from "./switch";

export function InterventionsPanel(): JSX.Element {
  const page = use_page();
  const { store, actions } = page;
  const { sets_open } = page.state.interventions;
  const specs = store.interventions.value;
  const any_on = specs.some((spec) => spec.enabled);
  return (
    <section class="interventions panel" aria-label="Interventions" onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => take_dropped_set(event, page)}>
      <div class="section-head">
        <h2>Interventions <span class="count">{specs.filter((spec) => spec.enabled).length}</span></h2>
        <button type="button" class="button small" id="all-off" disabled={specs.length === 0}
          onClick={() => actions.set_all_enabled(!any_on)}>{any_on || specs.length === 0 ? "All off" : "All on"}</button>
        <IconButton icon="undo" label="Undo the last change" keys="u, Ctrl Z" disabled={!actions.can_undo.value}
          onClick={() => actions.undo()} />
        <IconButton icon="redo" label="Redo" keys="Ctrl Y" disabled={!actions.can_redo.value} onClick={() => actions.redo()} />
        <button type="button" class="button small" id="sets-toggle" aria-expanded={sets_open.value}
          title="Keep, send and open whole sets" onClick={() => (sets_open.value = !sets_open.value)}>Sets</button>
      </div>
      <ApplyMode />
      {sets_open.value && <Sets />}
      {specs.length === 0 ? (
        <p class="muted empty">The network is untouched. Select a component and press <kbd>a</kbd> to switch it off.</p>
      ) : (
        <ul class="intervention-list">{specs.map((spec) => <Entry key={spec.intervention_id} spec={spec} />)}</ul>
      )}
    </section>
  );
}

function ApplyMode(): JSX.Element {
  const { state } = use_page();
  return (
    <label class="apply-mode">
      <span>A change holds</span>
      <select value={state.recompute.value} id="apply-mode"
        onChange={(event) => (state.recompute.value = event.currentTarget.value as "from_now")}>
        <option value="from_now">from the next token on</option>
        <option value="keep_text">on all tokens, recomputed</option>
        <option value="restart">on all tokens, written anew</option>
      </select>
    </label>
  );
}

function Entry({ spec }: { spec: InterventionSpec }): JSX.Element {
  const { store, actions } = use_page();
  const run = store.run.value;
  const names = spec.components.slice(0, 3).map(component_id).join(", ");
  const more = spec.components.length > 3 ? ` and ${spec.components.length - 3} more` : "";
  const since = effective_since(run, spec);
  const token = since && store.tokens.value[since.from_pos];
  const is_waiting = !run || run.state === "finished";
  const where = since
    ? `${spec.enabled ? "from" : "off from"} position ${since.from_pos}${token ? ` (${token_quote(token.text)})` : ""}`
    : is_waiting ? "from the start of the next run" : "at the next token";
  return (
    <li class="intervention" data-enabled={spec.enabled}>
      <Switch checked={spec.enabled} label={`${names}${more} intervention`}
        on_change={(enabled) => actions.set_enabled(spec.intervention_id, enabled)} />
      <div class="intervention-text">
        <button type="button" class="link" onClick={() => actions.select(spec.components[0] ?? null)}>
          {names}{more}
        </button>
        <span class="operation">{spec.operation === "zero" ? "zero" : `× ${number_text(spec.amount)}`}</span>
        <span class="muted where">{where}{since && ` · rev ${since.revision}`}</span>
      </div>
      <IconButton icon="close" label={`Remove the intervention on ${names}`} onClick={() => actions.remove(spec.intervention_id)} />
    </li>
  );
}
