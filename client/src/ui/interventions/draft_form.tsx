// The inspector's "change it otherwise": an operation, its fields, on the selected component or all picked ones.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Component, InterventionSpec, ModelInfo } from "../../protocol/generated";
import { use_page } from "../page";
import { use_refusal } from "../refusal";
import { COMPONENT_OPERATIONS, incomplete, named_spec, new_spec, why_not } from "./draft";
import { is_picked, Picked, toggle_picked } from "./picked";
import { SpecForm, type SpecChange } from "./spec_form";
import { OPERATION_NAMES, type Operation } from "./spec_words";

export function DraftSection({ component, info }: { component: Component; info: ModelInfo }): JSX.Element {
  const { store, state } = use_page();
  const { draft } = state.interventions;
  const is_open = draft.value !== null;
  const picked = store.picked.value;
  const first = COMPONENT_OPERATIONS.find((operation) => operation !== "zero" && !why_not(operation, [component], info)) ?? "scale";
  return (
    <div class="draft">
      <div class="draft-head">
        <button type="button" class="section-toggle" id="draft-toggle" aria-expanded={is_open}
          onClick={() => (draft.value = is_open ? null : new_spec(first, [component]))}>
          <span aria-hidden="true">{is_open ? "▾" : "▸"}</span> Change it otherwise
        </button>
        <button type="button" class="button small" aria-pressed={is_picked(picked, component)} id="pick"
          title="Gather components to change them together (g)" onClick={() => toggle_picked(store, component)}>
          {picked.length > 0 ? `Picked ${picked.length}` : "Pick"}
        </button>
      </div>
      {draft.value && <Draft draft={draft.value} component={component} info={info} />}
    </div>
  );
}

function Draft({ draft, component, info }: { draft: InterventionSpec; component: Component; info: ModelInfo }): JSX.Element {
  const { store, actions, state } = use_page();
  const on_picked = useSignal(false);
  const picked = store.picked.value;
  const components = on_picked.value && picked.length > 0 ? [...picked] : [component];
  const problem = why_not(draft.operation, components, info) ?? incomplete(draft);
  const refused = use_refusal();
  const edit = (change: SpecChange): void => {
    const held = state.interventions.draft.peek();
    if (held) state.interventions.draft.value = change(held);
    refused.words.value = null;
  };
  const apply = async (event: Event): Promise<void> => {
    event.preventDefault();
    const sent = state.interventions.draft.peek() ?? draft;
    const spec = named_spec({ ...sent, components }, store.interventions.peek());
    const is_taken = await actions.change((specs) => [...specs, spec], refused.anew());
    if (!is_taken || state.interventions.draft.peek() !== sent) return; // what was written stays
    state.interventions.draft.value = null;
    state.interventions.opened.value = spec.intervention_id;
  };
  return (
    <form class="draft-form" onSubmit={(event) => void apply(event)}>
      <label class="field-row">
        <span>Do</span>
        <select value={draft.operation} id="draft-operation" aria-label="Operation"
          onChange={(event) => {
            const operation = event.currentTarget.value as Operation;
            edit((held) => ({ ...new_spec(operation, components), positions: held.positions }));
          }}>
          {COMPONENT_OPERATIONS.map((operation) => {
            const reason = why_not(operation, components, info);
            return <option key={operation} value={operation} disabled={!!reason} title={reason ?? undefined}>{OPERATION_NAMES[operation]}</option>;
          })}
        </select>
      </label>
      <SpecForm spec={draft} problem={refused.words.value} edit={edit} />
      {picked.length > 0 && (
        <label class="check">
          <input type="checkbox" checked={on_picked.value} onChange={(event) => (on_picked.value = event.currentTarget.checked)} />
          to all {picked.length} picked, not {component_id(component)} alone
        </label>
      )}
      {picked.length > 0 && on_picked.value && <Picked />}
      <div class="set-row">
        <button type="submit" class="button small primary" id="draft-apply" disabled={problem !== null}>Apply</button>
        {problem && <span class="muted field-note" role="status">{problem}</span>}
      </div>
      {component.kind === "head" && (
        <button type="button" class="link-button" onClick={() => {
          state.drawer_open.value = true;
          state.tab.value = "turn";
        }}>Turn its attention…</button>
      )}
    </form>
  );
}
