// Begin a branch at the shown token: another token there, another seed, or the interventions as they stand now.
import type { JSX } from "preact";
import type { ForkRun, InterventionSpec } from "../../protocol/generated";
import type { RunView } from "../../store/types";
import { count_text, token_quote } from "../format";
import { use_page, type Page } from "../page";
import { RefusalWords, use_refusal } from "../refusal";

type Fork = Omit<ForkRun, "type" | "request_id" | "run_id">;

/** The run's own log goes on where the page's set is what it ends with; else the page's set holds from there. */
function set_for_branch(run: RunView, set: readonly InterventionSpec[]): InterventionSpec[] | null {
  const own = run.intervention_log.at(-1)?.interventions ?? [];
  return JSON.stringify(own) === JSON.stringify(set) ? null : [...set];
}

/** What the form asks for, or the sentence that says what does not fit. */
function read_fork({ store, state }: Page, from_pos: number): Fork | string {
  const run = store.run.peek();
  if (!run) return "There is no run to branch off: run a prompt first.";
  const seed_text = state.branches.seed.peek().trim();
  const seed = seed_text === "" ? run.sampling.seed : Number(seed_text);
  if (!Number.isInteger(seed) || seed < 0 || seed > Number.MAX_SAFE_INTEGER) {
    return `Seed must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}.`;
  }
  if (seed !== run.sampling.seed && run.sampling.temperature === 0) {
    return "This run is greedy: another seed changes nothing. Put in a token, or change the interventions.";
  }
  return {
    from_pos,
    token_text: state.branches.token_text.peek() || null,
    sampling: seed === run.sampling.seed ? null : { ...run.sampling, seed },
    interventions: set_for_branch(run, store.interventions.peek()),
    start_paused: false,
  };
}

/** The same text, and as many tokens more as it was given before. */
function longer_fork({ store }: Page): Fork | string {
  const run = store.run.peek();
  if (!run) return "There is no run to go on with.";
  const from_pos = store.tokens.peek().length;
  const max_new_tokens = from_pos - run.n_prompt_tokens + run.sampling.max_new_tokens;
  return {
    from_pos, token_text: null, sampling: { ...run.sampling, max_new_tokens },
    interventions: set_for_branch(run, store.interventions.peek()), start_paused: false,
  };
}

export function BranchForm(): JSX.Element {
  const page = use_page();
  const { store, actions, state: { branches } } = page;
  const run = store.run.value;
  const tokens = store.tokens.value;
  const from_pos = Math.max(1, store.current_pos.value);
  const there = tokens[from_pos];
  const refusal = use_refusal();
  const own_set = run !== null && set_for_branch(run, store.interventions.value) === null;
  return (
    <form class="branch-form" onSubmit={(event) => {
      event.preventDefault();
      void actions.fork(read_fork(page, from_pos), refusal.anew());
    }}>
      {there && <p>Instead of {token_quote(there.text)} (token {count_text(from_pos)})</p>}
      <label>
        <span class="muted">put in </span>
        <input type="text" aria-label="Token to put in" value={branches.token_text.value} maxLength={256} spellcheck={false}
          autocomplete="off" placeholder="what the model chooses" title="Write it with its space, for instance “ Tom”"
          onInput={(event) => (branches.token_text.value = event.currentTarget.value)} />
      </label>
      <label>
        <span class="muted">Seed </span>
        <input type="text" inputMode="numeric" aria-label="Seed of the branch" value={branches.seed.value} class="branch-seed"
          placeholder={run ? String(run.sampling.seed) : "0"}
          onInput={(event) => (branches.seed.value = event.currentTarget.value)} />
      </label>
      <span class="muted">{own_set ? "Interventions as this run had them" : "Interventions as listed now, from there on"}</span>
      <button type="submit" class="button small" disabled={!there}
        title="A new run with the same text before this token; this one stays as it is">Branch off here</button>
      {run?.state === "finished" && run.finish_reason === "max_new_tokens" && (
        <button type="button" class="button small" title={`${count_text(run.sampling.max_new_tokens)} tokens more, as a branch`}
          onClick={() => void actions.fork(longer_fork(page), refusal.anew())}>Go on after the end</button>
      )}
      <RefusalWords words={refusal.words} />
    </form>
  );
}
