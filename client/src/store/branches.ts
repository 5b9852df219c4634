// The runs that this page has watched, as a tree of branches: which run branched off which, and where texts part.
import { effect, signal, type Signal } from "@preact/signals";
import type { AppliedInterventions, BranchPoint, Sampling } from "../protocol/generated";
import type { Store } from "./store";
import type { RunView, TokenChip } from "./types";

/** A run as it was when it was last watched. */
export interface KnownRun {
  run_id: string;
  /** Counts the page's runs from 1: a short name for a run that has a long id. */
  number: number;
  prompt: string;
  branch: BranchPoint | null;
  tokens: readonly TokenChip[];
  n_prompt_tokens: number;
  sampling: Sampling;
  state: RunView["state"];
  intervention_log: readonly AppliedInterventions[];
}

export type KnownRuns = ReadonlyMap<string, KnownRun>;

export interface TreeRow {
  run: KnownRun;
  depth: number;
}

/** Runs that are kept: a page that is left open does not grow for ever. */
const MAX_RUNS = 200;

export function create_known_runs(): Signal<KnownRuns> {
  return signal<KnownRuns>(new Map());
}

/** Keep what the page shows of the watched run. */
export function remember_runs(store: Store): void {
  let last_number = 0;
  effect(() => {
    const run = store.run.value;
    const tokens = store.tokens.value;
    if (!run) return;
    const known = store.known_runs.peek();
    const number = known.get(run.run_id)?.number ?? ++last_number;
    const { run_id, prompt, branch, n_prompt_tokens, sampling, state, intervention_log } = run;
    const next = new Map(known).set(run_id, {
      run_id, number, prompt, branch, tokens, n_prompt_tokens, sampling, state, intervention_log,
    });
    const oldest = next.keys().next().value;
    if (next.size > MAX_RUNS && oldest !== undefined) next.delete(oldest);
    store.known_runs.value = next;
  });
}

/** All known runs, each after the one that it branched off, branches in the order in which they were made. */
export function tree_rows(known: KnownRuns): TreeRow[] {
  const children = new Map<string | null, KnownRun[]>();
  for (const run of [...known.values()].sort((one, other) => one.number - other.number)) {
    const parent = run.branch && known.has(run.branch.run_id) ? run.branch.run_id : null;
    children.set(parent, [...(children.get(parent) ?? []), run]);
  }
  const rows: TreeRow[] = [];
  const visit = (parent: string | null, depth: number): void => {
    for (const run of children.get(parent) ?? []) {
      rows.push({ run, depth });
      visit(run.run_id, depth + 1);
    }
  };
  visit(null, 0);
  return rows;
}

/** The first position at which two texts have other tokens; none where one is the beginning of the other. */
export function first_difference(one: readonly TokenChip[], other: readonly TokenChip[]): number | null {
  const n = Math.min(one.length, other.length);
  for (let pos = 0; pos < n; pos++) if (one[pos]!.token_id !== other[pos]!.token_id) return pos;
  return null;
}
