// The selected component: what it does now, what it did along the text, and the switch that takes it out.
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Component, ModelInfo } from "../../protocol/generated";
import { missing_channel } from "../../store/capabilities";
import { explained_step } from "../../store/explained";
import { direct_of } from "../../store/query";
import { AttendedKeys } from "./attended_keys";
import { direct_name, kind_name, value_meaning } from "../component_words";
import { use_exact_history } from "./exact_history";
import { number_text, percent_text, signed_text, token_quote, word_label } from "../format";
import { HistoryChart } from "./history_chart";
import { IconButton } from "../icons";
import { InterveneControls } from "./intervene_controls";
import { use_page } from "../page";
import { ComparedFacts } from "../patching/compared_facts";
import { PartSection } from "../parts/part_section";
import type { Shown } from "../shown_step";
import { TwinFacts } from "../twin/twin_facts";

export function Inspector({ shown }: { shown: Shown }): JSX.Element {
  const { store, actions } = use_page();
  const info = store.model_info.value;
  const component = store.selection.value;
  return (
    <section class="inspector panel" aria-label="Inspector">
      <TokenNow shown={shown} />
      {info && component ? (
        <div class="selected" key={component_id(component)}>
          <div class="selected-head">
            <h2 id="selected-id">{component_id(component)}</h2>
            <span class="muted">{kind_name(component)}</span>
            <IconButton icon="close" label="Clear the selection" keys="Escape" onClick={() => actions.select(null)} />
          </div>
          <Selected component={component} info={info} shown={shown} />
        </div>
      ) : (
        <div class="nothing">
          <h2>Nothing selected</h2>
          <p>
            Click a cell or a disc in the picture, or choose a row in the table below: its value, its history and its
            switch appear here.
          </p>
        </div>
      )}
    </section>
  );
}

function TokenNow({ shown }: { shown: Shown }): JSX.Element | null {
  const { store } = use_page();
  const { pos, step } = shown.step.value;
  if (!step) return null;
  const chip = store.tokens.value[pos];
  return (
    <div class="token-now">
      <span class="token-badge">{word_label(step.text)}</span>
      <div>
        <div><b>Position {pos}</b> <span class="muted">revision {step.revision}</span></div>
        <div class="muted">
          {step.chosen_text !== null && <>next {token_quote(step.chosen_text)} {percent_text(step.logprob === null ? null : Math.exp(step.logprob))}</>}
          {step.chosen_text === null && chip && "nothing follows yet"}
          {step.entropy !== null && ` · entropy ${number_text(step.entropy, 2)}`}
        </div>
      </div>
    </div>
  );
}

function Selected({ component, info, shown }: { component: Component; info: ModelInfo; shown: Shown }): JSX.Element {
  const { store, actions } = use_page();
  const { pos, step } = shown.step.value;
  const history = use_exact_history(component, info, shown);
  const value = history.values.get(pos);
  const shown_step = explained_step(store, step);
  const direct = direct_of(shown_step, component, info);
  const no_direct = missing_channel(store, "direct_logit");
  return (
    <>
      <dl class="facts">
        <div title={value_meaning(component)}>
          <dt>Value here</dt>
          <dd>
            <b id="selected-value">{number_text(value?.value, 4)}</b>
            {value && <span class="tag">{value.exact ? "exact" : "8-bit"}</span>}
          </dd>
        </div>
        <div title={no_direct ?? "Direct contribution to the metric at this token, in logits"}>
          <dt>{direct_name(shown_step)}</dt>
          <dd data-sign={direct === null ? undefined : Math.sign(direct)}>
            {no_direct ? <span class="muted">not available</span> : <b>{signed_text(direct)}</b>}
            {!no_direct && direct === null && component.kind === "neuron" && step && (
              <span class="muted">not among the strongest</span>
            )}
          </dd>
        </div>
      </dl>
      <ComparedFacts component={component} info={info} step={step} />
      <TwinFacts component={component} info={info} shown={shown} />
      <h3>Along the text</h3>
      <HistoryChart history={history} pos={pos} tokens={store.tokens.value}
        on_pick={(at) => actions.select_pos(at)} />
      <InterveneControls component={component} />
      {component.kind === "head" && <AttendedKeys layer={component.layer} head={component.index} shown={shown} />}
      <LensHere layer={component.layer} shown={shown} />
      <PartSection component={component} shown={shown} />
    </>
  );
}

/** What the model would say if it stopped after this layer. */
function LensHere({ layer, shown }: { layer: number; shown: Shown }): JSX.Element | null {
  const { store } = use_page();
  const { step } = shown.step.value;
  const missing = missing_channel(store, "logit_lens");
  if (missing) return <p class="muted">Logit lens: {missing}</p>;
  const text = step?.lens_texts?.[layer];
  if (!step || text === undefined) return null;
  const at = (name: "lens_prob" | "lens_rank" | "lens_entropy" | "lens_logprob"): number | null =>
    step.tensors[name]?.values[layer] ?? null;
  const rank = at("lens_rank");
  return (
    <>
      <h3>After layer {layer} it would say</h3>
      <dl class="facts">
        <div><dt>Top token</dt><dd><b>{token_quote(text)}</b> {percent_text(at("lens_prob"))}</dd></div>
        <div>
          <dt>Chosen token</dt>
          <dd>{rank === null ? "–" : rank === 0 ? "ranks first" : `rank ${rank + 1}`}</dd>
        </div>
      </dl>
    </>
  );
}
