// The selected component beside its clean twin: what this run has more, here and along the text.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Component, ModelInfo } from "../../protocol/generated";
import { activation_of, direct_of } from "../../store/query";
import { twin_difference } from "../../store/twin";
import type { StepRecord } from "../../store/types";
import { HistoryChart } from "../inspector/history_chart";
import { use_page } from "../page";
import { Looks, Pair } from "../patching/compared_facts";
import type { Shown } from "../shown_step";

interface Props {
  component: Component;
  info: ModelInfo;
  shown: Shown;
}

export function TwinFacts(props: Props): JSX.Element | null {
  const { store } = use_page();
  const { step } = props.shown.step.value;
  return step?.twin && store.twin_seen.value ? <Facts {...props} step={step} /> : null;
}

function Facts({ component, info, shown, step }: Props & { step: StepRecord }): JSX.Element {
  const { store, actions } = use_page();
  const version = shown.version.value;
  const difference = twin_difference(step, "activation");
  const beside = (value_of: typeof activation_of): { other: number | null; difference: number | null } => {
    const [own, more] = [value_of(step, component, info), value_of(difference, component, info)];
    return { other: own === null || more === null ? null : own - more, difference: more };
  };
  const history = useMemo(() => {
    const values = store.history.positions().flatMap((pos) => {
      const held = store.history.get(pos)!;
      const value = held.twin ? activation_of(twin_difference(held, "activation"), component, info) : null;
      return value === null ? [] : [[pos, { value, exact: false }] as const];
    });
    return { values: new Map(values), n_positions: store.tokens.peek().length };
  }, [version, component, info]);
  return (
    <section class="compared-facts" aria-label="In the clean twin">
      <h3>In the clean twin</h3>
      <dl class="facts">
        <Pair name="Value" {...beside(activation_of)} id="twin-value" />
        <Pair name="Direct logit" {...beside(direct_of)} id="twin-direct" />
      </dl>
      {component.kind === "head" && (difference.tensors.attention
        ? <Looks step={difference} component={component} other="clean" />
        : <p class="muted">Where it looks is compared for texts of up to 512 tokens; “Two prompts” compares any one token.</p>)}
      {history.values.size > 1 && (
        <>
          <h3>Δ along the text, this run − clean</h3>
          <HistoryChart history={history} pos={step.pos} tokens={store.tokens.value}
            on_pick={(pos) => actions.select_pos(pos)} />
        </>
      )}
    </section>
  );
}
