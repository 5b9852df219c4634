// The tree of branches: begin one, walk to any, compare two.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { tree_rows, type KnownRun, type TreeRow } from "../../store/branches";
import { token_quote } from "../format";
import { use_page } from "../page";
import { BranchForm } from "./branch_form";
import { ComparedTexts, type NamedText } from "./compared_texts";

const SHOWN_TOKENS = 24;

export function BranchesPanel(): JSX.Element {
  const { store, actions, state: { branches } } = use_page();
  const known = store.known_runs.value;
  const watched = store.run.value && known.get(store.run.value.run_id);
  const panel = useRef<HTMLDivElement>(null);
  const compared_id = branches.compared.value;
  const compared = compared_id === null ? null : known.get(compared_id);
  useEffect(() => { // the two texts stand above a list that may be long
    if (compared_id !== null && panel.current) panel.current.scrollTop = 0;
  }, [compared_id]);
  return (
    <div class="branches" tabIndex={0} role="region" aria-label="Branches" ref={panel}>
      <BranchForm />
      {watched && compared && compared !== watched && (
        <ComparedTexts one={named(watched)} other={named(compared)} on_pick={(pos) => actions.select_pos(pos)} />
      )}
      {known.size === 0 ? <p class="muted">No run yet.</p> : (
        <ul class="branch-tree" aria-label="Runs of this page">
          {tree_rows(known).map((row) => (
            <Row key={row.run.run_id} row={row} is_watched={row.run === watched} is_compared={row.run === compared}
              parent={row.run.branch ? known.get(row.run.branch.run_id) : undefined} />
          ))}
        </ul>
      )}
    </div>
  );
}

const named = ({ number, tokens }: KnownRun): NamedText => ({ name: `run ${number}`, tokens });

function Row({ row: { run, depth }, parent, is_watched, is_compared }: {
  row: TreeRow; parent: KnownRun | undefined; is_watched: boolean; is_compared: boolean;
}): JSX.Element {
  const { actions, state: { branches } } = use_page();
  const from = run.branch?.from_pos ?? run.n_prompt_tokens;
  const text = run.tokens.slice(from, from + SHOWN_TOKENS).map((chip) => chip.text).join("");
  return (
    <li style={{ "--depth": depth }} aria-current={is_watched || undefined}>
      <button type="button" class="link" disabled={is_watched} onClick={() => void actions.watch_run(run.run_id)}
        title={is_watched ? "The run that is shown" : "Show this run"}>Run {run.number}</button>
      <span class="muted">{origin(run, parent)}</span>
      <span class="branch-said">{text}{run.tokens.length > from + SHOWN_TOKENS && "…"}</span>
      {!is_watched && (
        <button type="button" class="button small" aria-pressed={is_compared}
          onClick={() => (branches.compared.value = is_compared ? null : run.run_id)}>Compare</button>
      )}
    </li>
  );
}

/** Where a run comes from, in a few words. */
function origin(run: KnownRun, parent: KnownRun | undefined): string {
  const { branch } = run;
  if (!branch) return run.sampling.temperature ? `seed ${run.sampling.seed}` : "greedy";
  const words = [`from token ${branch.from_pos}${parent ? "" : " of a run not seen here"}`];
  const put = branch.token_id === null ? undefined : run.tokens[branch.from_pos];
  if (put) words.push(`${token_quote(put.text)} put in`);
  if (parent && parent.sampling.seed !== run.sampling.seed) words.push(`seed ${run.sampling.seed}`);
  const own = run.intervention_log.filter((entry) => entry.from_pos >= branch.from_pos - 1 && entry.revision > 0);
  const inherited = new Set(parent?.intervention_log.map((entry) => JSON.stringify(entry.interventions)));
  if (own.some((entry) => !inherited.has(JSON.stringify(entry.interventions)))) words.push("other interventions");
  return words.join(", ");
}
