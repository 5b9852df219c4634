// The ablation switch and the factor of the selected component.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { component_id } from "../layout/component_id";
import type { Component } from "../protocol/generated";
import { factor_on } from "../store/query";
import { number_text } from "./format";
import { use_page } from "./page";
import { Switch } from "./switch";

export function InterveneControls({ component }: { component: Component }): JSX.Element {
  const { store, actions } = use_page();
  const info = store.model_info.value;
  const factor = factor_on(store.interventions.value, component);
  const amount = useSignal(factor ?? 1);
  useEffect(() => {
    amount.value = factor ?? 1;
  }, [factor]);
  const can_do = info?.capabilities.component_kinds.includes(component.kind) ?? false;
  const can_scale = can_do && (info?.capabilities.operations.includes("scale") ?? false);
  const commit = (): void => {
    const wanted = Number(amount.peek());
    if (Number.isFinite(wanted) && wanted !== (factor ?? 1)) actions.set_factor(component, wanted);
  };
  return (
    <div class="intervene" data-active={factor !== null || undefined}>
      <div class="intervene-row">
        <Switch id="ablate" checked={factor === 0} disabled={!can_do} label={`Ablate ${component_id(component)}`}
          on_change={() => actions.toggle(component)}>
          Ablate
        </Switch>
        <kbd>a</kbd>
        {factor !== null && <span class="off-mark">{factor === 0 ? "switched off" : `× ${number_text(factor)}`}</span>}
      </div>
      <label class="scale-row">
        <span>Scale by</span>
        <input type="range" min="-1" max="3" step="0.1" value={amount.value} disabled={!can_scale}
          aria-label={`Scale ${component_id(component)} by`}
          onInput={(event) => (amount.value = Number(event.currentTarget.value))} onChange={commit} />
        <input type="number" min="-1000" max="1000" step="0.1" value={amount.value} disabled={!can_scale}
          aria-label="Factor" onInput={(event) => (amount.value = Number(event.currentTarget.value))} onChange={commit} />
      </label>
      {!can_do && <p class="muted">This model cannot change a {component.kind}.</p>}
    </div>
  );
}
