// What the causal map measures: which parts, put to what, for which token; run, progress, cancel.
import type { JSX } from "preact";
import type { RequestEffects } from "../../protocol/generated";
import { token_quote } from "../format";
import { use_page, type Page } from "../page";
import type { Shown } from "../shown_step";
import { question_of } from "../why/why_actions";
import { Working } from "./asking";
import { SCOPES } from "./causal_words";
import type { CausalScope } from "./parts_state";

const MOST_NEURONS = 512;

/** Measure for the token after `pos`, with the target and distractor of the Why tab. */
function measure_all(page: Page, pos: number): void {
  const { why, parts } = page.state;
  const { analysis } = page.store;
  const metric = question_of(pos, why.target.peek(), why.distractor.peek(), why.against_mean.peek());
  analysis.explain(metric);
  void analysis.causal_map.ask(page.actions.ask, {
    type: "request_effects", metric, scope: parts.scope.peek(), components: [], ablation: parts.ablation.peek(),
    everywhere: parts.everywhere.peek(), n_neurons: parts.n_neurons.peek(),
  });
}

export function CausalForm({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const { store, state: { parts } } = page;
  const { progress } = store.analysis.causal_map.slot.value;
  const { pos, step } = shown.step.value;
  return (
    <form class="table-tools" onSubmit={(event) => {
      event.preventDefault();
      measure_all(page, pos);
    }}>
      <label>
        <span class="muted">Ablate </span>
        <select value={parts.scope.value} aria-label="Which parts"
          onChange={(event) => (parts.scope.value = event.currentTarget.value as CausalScope)}>
          {SCOPES.map(({ scope, label }) => <option key={scope} value={scope}>{label}</option>)}
        </select>
      </label>
      {parts.scope.value === "neurons" && <NeuronCount />}
      <label>
        <span class="muted">to </span>
        <select value={parts.ablation.value} aria-label="Ablate to"
          onChange={(event) => (parts.ablation.value = event.currentTarget.value as RequestEffects["ablation"])}>
          <option value="zero">zero</option>
          <option value="mean">its mean over earlier tokens</option>
        </select>
      </label>
      <label class="check">
        <input type="checkbox" checked={parts.everywhere.value}
          onChange={(event) => (parts.everywhere.value = event.currentTarget.checked)} />
        at earlier tokens too
      </label>
      {progress
        ? <Working progress={progress} on_cancel={() => store.analysis.causal_map.give_up()} />
        : <button type="submit" class="button small" disabled={!step}>
            {step ? `Measure after ${pos} ${token_quote(step.text)}` : "Run a prompt first"}
          </button>}
    </form>
  );
}

function NeuronCount(): JSX.Element {
  const { parts } = use_page().state;
  return (
    <input type="number" min={1} max={MOST_NEURONS} step={1} value={parts.n_neurons.value} aria-label="How many neurons"
      class="neuron-count" onChange={(event) => {
        const wanted = Math.round(Number(event.currentTarget.value));
        parts.n_neurons.value = Number.isFinite(wanted) ? Math.min(MOST_NEURONS, Math.max(1, wanted)) : 32;
        event.currentTarget.value = String(parts.n_neurons.value);
      }} />
  );
}
