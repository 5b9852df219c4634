// What the model predicts after the shown token, and what adds up to the chosen token's logit.
import type { JSX } from "preact";
import type { TwinStep } from "../../protocol/generated";
import { missing_channel } from "../../store/capabilities";
import type { StepRecord } from "../../store/types";
import { number_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";
import { ProbBars } from "./prob_bars";
import type { Shown } from "../shown_step";

export function NextTokens({ shown }: { shown: Shown }): JSX.Element {
  const { step } = shown.step.value;
  if (!step) return <p class="muted pad">Run a prompt: the likeliest next tokens appear here.</p>;
  return (
    <div class="next-tokens" tabIndex={0} role="region" aria-label="Next tokens">
      <div>
        <h3>After {token_quote(step.text)} the model predicts</h3>
        <ProbBars tokens={step.top_tokens} chosen_id={step.chosen_id} beside={step.twin?.top_tokens} />
        <p class="muted">Entropy {number_text(step.entropy)} nat{step.twin && "; the line in a bar: its clean twin"}</p>
      </div>
      {step.twin && <CleanTokens step={step} twin={step.twin} />}
      <LogitParts step={step} />
    </div>
  );
}

/** What the clean twin predicts at the same place. */
function CleanTokens({ step, twin }: { step: StepRecord; twin: TwinStep }): JSX.Element {
  const read = twin.token_id === step.token_id ? "" : ` after ${token_quote(twin.text)}`;
  return (
    <div class="clean-tokens">
      <h3>Its clean twin predicts{read}</h3>
      <ProbBars tokens={twin.top_tokens} chosen_id={step.chosen_id} beside={step.top_tokens} />
      <p class="muted">Entropy {number_text(twin.entropy)} nat · KL {number_text(twin.kl)} nat; the line: this run</p>
    </div>
  );
}

function sum(values: ArrayLike<number> | undefined): number | null {
  return values ? Array.from(values).reduce((total, value) => total + value, 0) : null;
}

function LogitParts({ step }: { step: StepRecord }): JSX.Element {
  const { store } = use_page();
  const missing = missing_channel(store, "direct_logit");
  const ends = step.tensors.direct_ends?.values;
  if (missing || !ends) return <p class="muted">{missing ?? "Direct logits of this token have not arrived."}</p>;
  const parts: [string, number | null | undefined][] = [
    ["Embedding", ends[0]],
    ["All heads", sum(step.tensors.direct_heads?.values)],
    ["Attention biases", sum(step.tensors.direct_bias?.values)],
    ["All MLPs", sum(step.tensors.direct_mlps?.values)],
    ["Final biases", ends[1]],
  ];
  const largest = Math.max(...parts.map(([, value]) => Math.abs(value ?? 0)), 1e-9);
  const metric = step.direct_distractor_id === null ? "logit above the mean of all" : "logit difference, target − distractor";
  return (
    <div>
      <h3>What adds up to the {metric}</h3>
      <table class="parts">
        <tbody>
          {parts.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="part-bar">
                <i data-sign={Math.sign(value ?? 0)} style={{ width: `${(50 * Math.abs(value ?? 0)) / largest}%` }} />
              </td>
              <td class="number">{signed_text(value)}</td>
            </tr>
          ))}
          <tr class="total"><th scope="row">Total</th><td /><td class="number">{signed_text(ends[2], 4)}</td></tr>
        </tbody>
      </table>
    </div>
  );
}
