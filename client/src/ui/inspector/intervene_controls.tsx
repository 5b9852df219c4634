// The ablation switch and the factor of the selected component.
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import { factor_on } from "../../store/query";
import { NO_MODEL } from "../../store/replay";
import { acting_at, with_factor } from "../../store/interventions";
import { number_text } from "../format";
import { DraftSection } from "../interventions/draft_form";
import { AmountField } from "../interventions/number_field";
import { use_page } from "../page";
import { RefusalWords, use_refusal } from "../refusal";
import { Switch } from "../switch";

export function InterveneControls({ component }: { component: Component }): JSX.Element {
  const { store, actions } = use_page();
  const info = store.model_info.value;
  const factor = factor_on(store.interventions.value, component);
  const acting = acting_at(store.interventions.value, store.current_pos.value, store.tokens.value);
  const is_here = factor_on(acting, component) === factor;
  const can_do = info?.capabilities.component_kinds.includes(component.kind) ?? false;
  const can_scale = can_do && (info?.capabilities.operations.includes("scale") ?? false);
  const refusal = use_refusal(component_id(component));
  const scale = (amount: number): void =>
    actions.change_live(`scale ${component_id(component)}`, (specs) => with_factor(specs, component, amount), refusal.anew());
  return (
    <div class="intervene" data-active={factor !== null || undefined}>
      <div class="intervene-row">
        <Switch id="ablate" checked={factor === 0} disabled={!can_do} label={`Ablate ${component_id(component)}`}
          on_change={() => actions.toggle(component, refusal.anew())}>
          Ablate
        </Switch>
        <kbd>a</kbd>
        {factor !== null && <span class="off-mark">{factor_words(factor, is_here)}</span>}
      </div>
      <AmountField key={component_id(component)} label="Scale by" value={factor ?? 1} min={-1} max={3} step={0.1} most={1000}
        disabled={!can_scale} on_move={scale} on_rest={(amount) => {
          scale(amount);
          actions.end_gesture();
        }} />
      <RefusalWords words={refusal.words} />
      {!can_do && <p class="muted">{store.replay.value ? NO_MODEL : `This model cannot change a ${component.kind}.`}</p>}
      {can_do && info && <DraftSection component={component} info={info} />}
    </div>
  );
}

/** is_here: at the shown token, too. */
function factor_words(factor: number, is_here: boolean): string {
  if (is_here) return factor === 0 ? "switched off" : `× ${number_text(factor)}`;
  return factor === 0 ? "off elsewhere" : `× ${number_text(factor)} elsewhere`;
}
