// Changing a listed intervention by its fields. What is not complete or was refused stays in the fields, unsent.
import { useSignal } from "@preact/signals";
import type { InterventionSpec } from "../../protocol/generated";
import { use_page } from "../page";
import { incomplete } from "./draft";
import type { EditKind, SpecChange } from "./spec_form";

interface Unsent {
  spec: InterventionSpec;
  problem: string;
}

interface SpecEdits {
  /** What the fields show: the listed intervention, or what is still to be mended of it. */
  shown: InterventionSpec;
  problem: string | null;
  edit(change: SpecChange, kind: EditKind): void;
}

export function use_spec_edits(spec: InterventionSpec): SpecEdits {
  const { store, actions } = use_page();
  const unsent = useSignal<Unsent | null>(null);
  const id = spec.intervention_id;
  const edit = (change: SpecChange, kind: EditKind): void => {
    const listed = store.interventions.peek().find((other) => other.intervention_id === id);
    if (!listed) return; // somebody took it away
    const held = unsent.peek();
    const next = change(held?.spec ?? listed);
    const problem = incomplete(next);
    if (problem) {
      unsent.value = { spec: next, problem };
      return;
    }
    unsent.value = null;
    // On the set as it is when it is sent: another field's change may be waiting, another viewer's have come.
    const made = (specs: readonly InterventionSpec[]): InterventionSpec[] => specs.map((other) =>
      other.intervention_id === id ? (held ? { ...next, enabled: other.enabled } : change(other)) : other);
    if (kind === "once") {
      void actions.change(made).then((refused) => {
        if (refused !== null) unsent.value = { spec: next, problem: refused };
      });
      return;
    }
    actions.change_live(`edit ${id}`, made);
    if (kind === "rested") actions.end_gesture();
  };
  return { shown: unsent.value?.spec ?? spec, problem: unsent.value?.problem ?? null, edit };
}
