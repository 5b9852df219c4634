// Everything that is changed in the network, each with its switch and the position from which it holds.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { kept_edits } from "./edits/kept_edits";
import { IconButton } from "./icons";
import { Entry } from "./interventions/entry";
import { kept_directions } from "./interventions/kept_directions";
import { take_dropped_set } from "./interventions/set_actions";
import { SetHistory } from "./interventions/set_history";
import { Sets } from "./interventions/sets";
import { use_page } from "./page";
import { TwinSwitch } from "./twin/twin_switch";

export function InterventionsPanel(): JSX.Element {
  const page = use_page();
  const { store, actions } = page;
  const { sets_open } = page.state.interventions;
  const specs = store.interventions.value;
  const info = store.model_info.value;
  useEffect(() => {
    const { interventions: { directions }, edits: { held } } = page.state;
    if (info && directions.peek().length === 0) directions.value = kept_directions(info);
    if (info && held.peek().length === 0) held.value = kept_edits(info);
  }, [info?.weights_sha256]);
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
      <TwinSwitch />
      {sets_open.value && <Sets />}
      {specs.length === 0 ? (
        <p class="muted empty">The network is untouched. Select a component and press <kbd>a</kbd> to switch it off.</p>
      ) : (
        <ul class="intervention-list">{specs.map((spec) => <Entry key={spec.intervention_id} spec={spec} />)}</ul>
      )}
      <SetHistory />
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
