// The sets that a run has had, as a person reads them: who put each in force, from where on, and what it changed.
import type { AppliedInterventions, InterventionSpec } from "../protocol/generated";
import { spec_form } from "./interventions";

export interface LoggedSet {
  revision: number;
  from_pos: number;
  is_recomputed: boolean;
  /** viewer_id; empty where a recording does not say. */
  author: string;
  n_listed: number;
  n_on: number;
  added: readonly InterventionSpec[];
  removed: readonly InterventionSpec[];
  changed: readonly InterventionSpec[];
}

/** "you", or a name of another viewer that is the same for everyone. */
export function who_words(author: string, own_viewer_ids: readonly string[]): string {
  if (author === "") return "somebody";
  return own_viewer_ids.includes(author) ? "you" : `viewer ${author.slice(0, 4)}`;
}

/**
 * The log, newest first. What one viewer sent while no position was computed (a slider on its way) is one entry, and
 * the empty set with which a run begins is none.
 */
export function logged_sets(log: readonly AppliedInterventions[]): LoggedSet[] {
  const sorted = [...log].sort((a, b) => a.revision - b.revision);
  const kept = sorted.filter((entry, i) => !continues(entry, sorted[i + 1]));
  const entries: LoggedSet[] = [];
  let before: readonly InterventionSpec[] = [];
  for (const entry of kept) {
    const logged = compared(entry, before);
    before = entry.interventions;
    if (entry.revision > 0 || entry.interventions.length > 0) entries.unshift(logged);
  }
  return entries;
}

const continues = (entry: AppliedInterventions, next: AppliedInterventions | undefined): boolean =>
  next !== undefined && next.author === entry.author && next.from_pos === entry.from_pos && next.mode === entry.mode;

function compared(entry: AppliedInterventions, before: readonly InterventionSpec[]): LoggedSet {
  const { revision, from_pos, mode, author, interventions } = entry;
  const [was, is] = [before, interventions].map((specs) => new Map(specs.map((spec) => [spec.intervention_id, spec])));
  return {
    revision, from_pos, author, is_recomputed: mode === "recompute",
    n_listed: interventions.length,
    n_on: interventions.filter((spec) => spec.enabled).length,
    added: interventions.filter((spec) => !was!.has(spec.intervention_id)),
    removed: before.filter((spec) => !is!.has(spec.intervention_id)),
    changed: interventions.filter((spec) => {
      const old = was!.get(spec.intervention_id);
      return old !== undefined && spec_form(old) !== spec_form(spec);
    }),
  };
}
