// Changing a listed intervention by its fields. What is not complete or was refused stays in the fields, unsent.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { InterventionSpec } from "../../protocol/generated";
import { use_page } from "../page";
import { use_refusal } from "../refusal";
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
  const refusal = use_refusal();
  const sent = useRef(spec);
  const refused = (why: string | null): Unsent | null => why === null ? null : { spec: sent.current, problem: why };
  const id = spec.intervention_id;
  const edit = (change: SpecChange, kind: EditKind): void => {
    const listed = store.interventions.peek().find((other) => other.intervention_id === id);
    if (!listed) return; // somebody took it away
    const held = unsent.peek() ?? refused(refusal.words.peek());
    const told = refusal.anew();
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
    sent.current = next;
    if (kind === "once") {
      void actions.change(made, told);
      return;
    }
    actions.change_live(`edit ${id}`, made, told);
    if (kind === "rested") actions.end_gesture();
  };
  const to_mend = unsent.value ?? refused(refusal.words.value);
  return { shown: to_mend?.spec ?? spec, problem: to_mend?.problem ?? null, edit };
}
