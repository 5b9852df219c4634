// The causal map: every part ablated one at a time, and what that did, beside what attribution says it does.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { factor_on } from "../../store/query";
import type { EffectsAnswer } from "../../protocol/questions";
import { percent_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";
import type { Shown } from "../shown_step";
import { Switch } from "../switch";
import { use_missing } from "./asking";
import { CausalForm } from "./causal_form";
import { CausalGrids } from "./causal_grids";
import { agreement_words, measured_rows, measured_words, type MeasuredRow } from "./causal_words";
import { MeasuredTable } from "./measured_table";

export function CausalMap({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const missing = use_missing("effects");
  if (missing) return <p class="muted pad">No causal map: {missing}</p>;
  const { answer, error, progress } = store.analysis.causal_map.slot.value;
  return (
    <div class="causal-map" tabIndex={0} role="region" aria-label="Causal map" aria-busy={progress !== null}>
      <CausalForm shown={shown} />
      {error && <p class="causal-words" role="alert">{error}</p>}
      {answer ? <Answered answer={answer} /> : !error && (
        <p class="muted causal-words">
          Each part is switched off on its own, the model runs, and the change of the shown token’s prediction is
          measured. Nothing of the run itself changes.
        </p>
      )}
    </div>
  );
}

function Answered({ answer }: { answer: EffectsAnswer }): JSX.Element {
  const rows = useMemo(() => measured_rows(answer), [answer]);
  return (
    <>
      <div class="causal-words" role="status">
        <p>{measured_words(answer)}</p>
        <p>{agreement_words(answer)}</p>
        {answer.metric.notice && <p>{answer.metric.notice}</p>}
      </div>
      <div class="causal-body">
        {answer.scope !== "neurons" && <CausalGrids answer={answer} />}
        <EffectTable rows={rows} answer={answer} />
      </div>
    </>
  );
}

function EffectTable({ rows, answer }: { rows: readonly MeasuredRow[]; answer: EffectsAnswer }): JSX.Element {
  const { store, actions } = use_page();
  return (
    <MeasuredTable rows={rows} component_of={(row) => row.component} rest_word="weaker"
      head={
        <>
          <th scope="col">Component</th>
          <th scope="col" title="How much the metric falls when it is ablated, in logits: + it helped">Measured</th>
          <th scope="col" title="What attribution says it contributes, in logits">Attributed</th>
          <th scope="col" title="The target's probability when it is ablated">{token_quote(answer.metric.target_text)} then</th>
          <th scope="col">Ablated</th>
        </>
      }
      cells={(row) => (
        <>
          <td class="number" data-sign={Math.sign(row.effect)}>{signed_text(row.effect)}</td>
          <td class="number" data-sign={row.attributed === null ? undefined : Math.sign(row.attributed)}>
            {signed_text(row.attributed)}
          </td>
          <td class="number">{percent_text(row.prob)}</td>
          <td>
            <Switch checked={factor_on(store.interventions.value, row.component) === 0} label={`Ablate ${row.id}`}
              on_change={() => actions.toggle(row.component)} />
          </td>
        </>
      )} />
  );
}
