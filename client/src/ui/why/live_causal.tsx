// Live causal: a switch that has the strongest components of every new token measured, and what came of it.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import { node_of } from "../../layout/node_id";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { live_causal_fault, live_effects, live_history, type LiveEffect } from "../../store/live_causal";
import { same_component, type StepRecord } from "../../store/types";
import { signed_text, token_quote } from "../format";
import { HistoryChart } from "../inspector/history_chart";
import { announce_taken, use_page, type Page } from "../page";
import type { Shown } from "../shown_step";
import { Switch } from "../switch";

export function LiveSwitch(): JSX.Element {
  const page = use_page();
  const { is_measuring_live } = page.store;
  const fault = live_causal_fault(page.store);
  const is_on = is_measuring_live.value;
  const hint = fault === null ? "Ablate the 8 strongest components of every new token, one at a time, while it is made (key m)"
    : `Not with this model: ${fault}`;
  return (
    <span class="live-switch" title={hint}>
      <Switch id="live-causal" checked={is_on} label="Live causal: measure the strongest components of every new token"
        disabled={fault !== null && !is_on} on_change={(on) => set_live(page, on)} />
      <span aria-hidden="true">Live causal</span>
    </span>
  );
}

/** Switch measuring on or off; switched on, its list is shown. */
export function set_live({ store, state, actions }: Page, is_on: boolean): void {
  if (is_on && live_causal_fault(store) !== null) return;
  const answer = actions.set_live(is_on);
  if (is_on) state.why.view.value = "live";
  void announce_taken(state, answer, () => {
    if (store.is_measuring_live.peek() !== is_on) return null;
    return is_on ? "Every new token is measured" : "New tokens are not measured";
  });
}

export function LiveCausal({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const { store } = page;
  const { pos, step } = shown.step.value;
  const effects = live_effects(step);
  if (!effects || !step) return <p class="muted">{gap_text(page, pos)}</p>;
  const range = shown_layers(store);
  const n_opposite = effects.filter(({ attributed, measured }) => attributed * measured < 0).length;
  const largest = Math.max(...effects.flatMap((one) => [Math.abs(one.attributed), Math.abs(one.measured)]), 1e-12);
  return (
    <>
      <p class="muted why-sums">
        {metric_text(step)} · {n_opposite} of {effects.length} measured against the attributed sign
      </p>
      <table class="live-causal">
        <thead><tr>
          <th scope="col">Component</th>
          <th scope="col" title="What it writes straight to the logit">attributed</th>
          <th scope="col" title="What is lost when it alone is zeroed at this token">measured</th>
        </tr></thead>
        <tbody>
          {effects.filter(({ component }) => is_layer_shown(range, component.layer)).map((effect) => (
            <Row key={component_id(effect.component)} effect={effect} pos={pos} largest={largest} />
          ))}
        </tbody>
      </table>
      {store.selection.value && <Over page={page} shown={shown} />}
    </>
  );
}

function Row({ effect, pos, largest }: { effect: LiveEffect; pos: number; largest: number }): JSX.Element {
  const page = use_page();
  const { store, actions } = page;
  const { component } = effect;
  const is_selected = same_component(store.selection.value, component);
  return (
    <tr data-node={node_of(component, pos)} data-selected={is_selected || undefined}
      onMouseEnter={() => (store.hovered.value = component)} onMouseLeave={() => (store.hovered.value = null)}>
      <th scope="row">
        <button type="button" class="why-quiet" aria-pressed={is_selected}
          onClick={() => actions.select(component)}>{component_id(component)}</button>
      </th>
      <Amount value={effect.attributed} largest={largest} />
      <Amount value={effect.measured} largest={largest} />
    </tr>
  );
}

function Amount({ value, largest }: { value: number; largest: number }): JSX.Element {
  return (
    <td>
      <span class="why-number" data-sign={Math.sign(value)}>{signed_text(value)}</span>
      <span class="live-bar"><i class="why-bar" data-sign={Math.sign(value)} style={{ width: `${(100 * Math.abs(value)) / largest}%` }} /></span>
    </td>
  );
}

/** The selected component's measured effect over the tokens where it was among the strongest. */
function Over({ page, shown }: { page: Page; shown: Shown }): JSX.Element | null {
  const { store, actions } = page;
  const selection = store.selection.value!;
  const version = shown.version.value;
  const history = useMemo(() => {
    const values = new Map([...live_history(store, selection)].map(([pos, value]) => [pos, { value, exact: true }]));
    return { values, n_positions: store.tokens.peek().length };
  }, [selection, version]);
  if (history.values.size === 0) return null;
  return (
    <section class="live-over" aria-label={`Measured effect of ${component_id(selection)} over the tokens`}>
      <h3>{component_id(selection)} over {history.values.size} tokens where it was among the strongest, logits</h3>
      <HistoryChart history={history} pos={store.current_pos.value} tokens={store.tokens.value}
        on_pick={(pos) => actions.select_pos(pos)} />
    </section>
  );
}

function metric_text(step: StepRecord): string {
  const text_of = (id: number): string => {
    if (id === step.chosen_id) return token_quote(step.chosen_text ?? "");
    const known = step.top_tokens.find((top) => top.token_id === id);
    return known ? token_quote(known.text) : `token ${id}`;
  };
  const target = step.direct_target_id === null ? "the chosen token" : text_of(step.direct_target_id);
  const away = step.direct_distractor_id === null ? "above the mean of all" : `above that of ${text_of(step.direct_distractor_id)}`;
  return `Share of the logit of ${target} ${away}`;
}

function gap_text({ store }: Page, pos: number): string {
  const fault = live_causal_fault(store);
  if (fault !== null) return `This model is not measured as it writes: ${fault}.`;
  if (!store.is_measuring_live.value) {
    return "Switch Live causal on: then the 8 strongest components of every new token are ablated one at a time while it is made.";
  }
  if (pos < 0 || !store.run.value) return "Run a prompt: each of its new tokens is measured.";
  return "The token after this one was not measured as it was made: only those that are generated while the switch is on are. "
    + "Measure, beside a node, asks about any token.";
}
