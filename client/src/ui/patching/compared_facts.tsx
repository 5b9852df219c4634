// The selected component in the other run, and what this run has more: exact, beside its own value.
import type { JSX } from "preact";
import { strongest_keys } from "../../layout/attention_arcs";
import type { Component, ModelInfo } from "../../protocol/generated";
import type { ComparisonAnswer } from "../../protocol/questions";
import { compared_step } from "../../store/compared_step";
import { activation_of, direct_of } from "../../store/query";
import type { StepRecord } from "../../store/types";
import { number_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";

const N_KEYS = 5;

interface Props {
  component: Component;
  info: ModelInfo;
  step: StepRecord | undefined;
}

export function ComparedFacts(props: Props): JSX.Element | null {
  const { store } = use_page();
  const answer = props.step && store.analysis.comparison.answers.value.get(props.step.pos);
  return answer ? <Facts {...props} step={props.step!} answer={answer} /> : null;
}

function Facts({ component, info, step, answer }: Props & { step: StepRecord; answer: ComparisonAnswer }): JSX.Element {
  const difference = compared_step(step, answer, "difference", "activation");
  const exact = { ...difference, tensors: answer.other, signed: undefined };
  const lens = answer.difference.lens_logprob?.values[component.layer];
  const other_lens = answer.other_lens_texts?.[component.layer];
  return (
    <section class="compared-facts" aria-label="In the other run">
      <h3>In the other run</h3>
      <dl class="facts">
        <Pair name="Value" other={activation_of(exact, component, info)} difference={activation_of(difference, component, info)} id="value" />
        <Pair name="Direct logit" other={direct_of(exact, component, info)} difference={direct_of(difference, component, info)} id="direct" />
      </dl>
      {component.kind === "head" && <Looks step={difference} component={component} other="other" />}
      {other_lens !== undefined && (
        <p class="muted">
          After layer {component.layer} it would say {token_quote(other_lens)}; log-probability of{" "}
          {token_quote(answer.target_text)}, this run − other: {signed_text(lens)}.
        </p>
      )}
    </section>
  );
}

export function Pair({ name, other, difference, id }: { name: string; other: number | null; difference: number | null; id: string }): JSX.Element {
  return (
    <>
      <div><dt>{name}</dt><dd><b id={`other-${id}`}>{number_text(other, 4)}</b></dd></div>
      <div title="This run minus the other">
        <dt>This run has</dt>
        <dd data-sign={difference === null ? undefined : Math.sign(difference)}>
          <b id={`difference-${id}`}>{signed_text(difference, 4)}</b>
        </dd>
      </div>
    </>
  );
}

/** The tokens that the head looks at more in one run than in the other. */
export function Looks({ step, component, other }: { step: StepRecord; component: Component; other: string }): JSX.Element {
  const { store } = use_page();
  const keys = strongest_keys(step, component.layer, component.index, N_KEYS);
  if (keys.length === 0) return <p class="muted">It looks at the same tokens in both.</p>;
  return (
    <p>
      Looks, this run − {other}:{" "}
      {keys.map(({ key_pos, weight }, i) => (
        <span key={key_pos}>{i > 0 && ", "}<b data-sign={Math.sign(weight)}>{signed_text(weight, 2)}</b> at {key_pos} {token_quote(store.tokens.value[key_pos]?.text ?? "")}</span>
      ))}
    </p>
  );
}
