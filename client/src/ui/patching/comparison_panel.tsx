// Two runs side by side at the shown token: layer by layer, and what differs most. The picture shows all of it.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { ComparisonAnswer } from "../../protocol/questions";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { same_component } from "../../store/types";
import { number_text, percent_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";
import { Working } from "../parts/asking";
import type { Shown } from "../shown_step";
import { ComparedSwitch } from "./compared_switch";
import { layer_rows, most_different, other_words, same_words, type DifferingComponent } from "./comparison_rows";

const N_STRONGEST = 12;

export function ComparisonPanel({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const { comparison } = store.analysis;
  const { error, progress } = comparison.inquiry.slot.value;
  const answer = comparison.answers.value.get(store.current_pos.value);
  return (
    <div class="comparison">
      <div class="comparison-bar">
        <ComparedSwitch />
        <button type="button" class="button small" onClick={() => comparison.end()}>Stop comparing</button>
        {progress && <Working progress={progress} on_cancel={() => comparison.inquiry.give_up()} />}
      </div>
      {error && <p class="patching-words" role="alert">{error}</p>}
      {answer ? <Answered answer={answer} shown={shown} /> : !error && !progress && (
        <p class="muted patching-words">
          {store.run.value?.state === "running" ? "Pause the run to compare at a token." : "This token is not computed yet."}
        </p>
      )}
    </div>
  );
}

function Answered({ answer, shown }: { answer: ComparisonAnswer; shown: Shown }): JSX.Element | null {
  const { store } = use_page();
  const info = store.model_info.value;
  const range = shown_layers(store);
  const [heads, neurons] = useMemo(
    () => (["head", "neuron"] as const).map((kind) => (info ? most_different(answer, kind, info, N_STRONGEST, range) : [])),
    [answer, info, range],
  );
  if (!info) return null;
  const { pos } = answer;
  const text = store.tokens.value[pos]?.text ?? "";
  const other = answer.other_tokens[pos] ?? "";
  const [top] = answer.other_top_tokens;
  return (
    <>
      <div class="patching-words" role="status">
        <p>
          The other run has {other_words(answer)}. At position {pos} {token_quote(text)}
          {other !== text && <> (other: {token_quote(other)})</>}: {token_quote(answer.target_text)} has{" "}
          <b id="own-prob">{percent_text(Math.exp(answer.logprob))}</b> in this run,{" "}
          <b id="other-prob">{percent_text(Math.exp(answer.other_logprob))}</b> in the other
          {top && <>, which says {token_quote(top.text)} {percent_text(top.prob)}</>}. {same_words(answer)}
        </p>
        <p class="muted">This run minus the other, exact, in {number_text(answer.secs, 2)} s. The same in the picture, the Components table and the inspector.</p>
      </div>
      <div class="patching-body">
        <StrongestTable title="Heads that differ most" rows={heads!} />
        <StrongestTable title="Neurons that differ most" rows={neurons!} />
        <LayerTable answer={answer} shown={shown} n_layers={info.n_layers} />
      </div>
    </>
  );
}

function StrongestTable({ title, rows }: { title: string; rows: readonly DifferingComponent[] }): JSX.Element {
  const { store, actions } = use_page();
  return (
    <table class="patching-table comparison-strongest">
      <caption>{title}</caption>
      <thead><tr><th scope="col">Component</th><th scope="col">Difference</th></tr></thead>
      <tbody>
        {rows.length === 0 && <tr><td colSpan={2} class="muted">None: both runs are the same here.</td></tr>}
        {rows.map(({ component, difference }) => (
          <tr key={component_id(component)} data-selected={same_component(store.selection.value, component) || undefined}>
            <th scope="row">
              <button type="button" class="link" onClick={() => actions.select(component)}>{component_id(component)}</button>
            </th>
            <td class="number" data-sign={Math.sign(difference)}>{signed_text(difference)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function LayerTable({ answer, shown, n_layers }: { answer: ComparisonAnswer; shown: Shown; n_layers: number }): JSX.Element {
  const { step } = shown.step.value;
  const range = shown_layers(use_page().store);
  const rows = useMemo(() => layer_rows(answer, step, n_layers), [answer, step, n_layers])
    .filter(({ layer }) => is_layer_shown(range, layer));
  const number = (value: number | null): JSX.Element => (
    <td class="number" data-sign={value === null ? undefined : Math.sign(value)}>{signed_text(value)}</td>
  );
  return (
    <table class="patching-table comparison-layers">
      <caption>Layer by layer</caption>
      <thead>
        <tr>
          <th scope="col">Layer</th>
          <th scope="col" title="Norm of the residual stream after the layer, this run minus the other">Stream</th>
          <th scope="col" title="Norm of what attention writes">Attention</th>
          <th scope="col" title="Norm of what the MLP writes">MLP</th>
          <th scope="col" title="Top token of the logit lens after the layer">Lens here</th>
          <th scope="col">Lens there</th>
          <th scope="col" title={`log-probability of ${token_quote(answer.target_text)} after the layer`}>log p</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.layer} data-differs={(row.own_lens !== row.other_lens) || undefined}>
            <th scope="row">L{row.layer}</th>
            {number(row.stream)}{number(row.attn)}{number(row.mlp)}
            <td>{row.own_lens === null ? "–" : token_quote(row.own_lens)}</td>
            <td>{row.other_lens === null ? "–" : token_quote(row.other_lens)}</td>
            {number(row.logprob)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
