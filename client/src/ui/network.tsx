// The picture's place: the canvas, the buttons that turn it, what is under the pointer, and its legend.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { component_id } from "../layout/component_id";
import type { LegendSpec } from "../layout/legend";
import { component_of_node } from "../layout/node_id";
import type { Component } from "../protocol/generated";
import { missing_channel } from "../store/capabilities";
import type { CausalView } from "../store/causal";
import { drawn_file, drawn_text } from "../store/drawn_text";
import { explained_step } from "../store/explained";
import { activation_of, direct_of, factor_on } from "../store/query";
import { is_layer_shown, shown_layers } from "../store/layer_range";
import { add_notice } from "../store/store";
import type { DisplayChannel, ViewPreset } from "../store/types";
import { direct_name, kind_name, value_meaning, value_name } from "./component_words";
import { number_text, signed_text } from "./format";
import { can_turn, draw_turn } from "./interventions/turn_actions";
import { LayerRangeFields } from "./layer_range_fields";
import { StreamKeeper } from "./lens/stream_keeper";
import { IconButton, type IconName } from "./icons";
import { use_page, type Page } from "./page";
import { ComparedSwitch } from "./patching/compared_switch";
import { use_comparison } from "./patching/use_comparison";
import type { SceneView } from "./scene_view";
import { go } from "./why/why_actions";

interface Pointed {
  component: Component;
  x: number;
  y: number;
}

export function Network(): JSX.Element {
  const page = use_page();
  use_comparison(page);
  const place = useRef<HTMLDivElement>(null);
  const pointed = useSignal<Pointed | null>(null);
  useEffect(() => {
    const container = place.current;
    if (!container) return undefined;
    return show_scene(container, page, (component, x, y) => {
      pointed.value = component ? { component, x, y } : null;
    });
  }, [page]);
  const problem = page.state.scene_problem.value;
  return (
    <main class="network" aria-label="The network">
      <div class="canvas-place" ref={place} />
      {problem !== null && (
        <div class="no-scene" role="note">
          <h2>No 3D picture here</h2>
          <p>{problem}</p>
          <p>Everything else works: the text, the table of components, the inspector and all interventions.</p>
        </div>
      )}
      {problem === null ? <ViewButtons /> : <div class="view-tools"><LayerRangeFields /></div>}
      <ChannelPicker />
      <Legend />
      <FlatStatus />
      <StreamKeeper />
      {pointed.value && <PointedCard pointed={pointed.value} />}
    </main>
  );
}

function show_scene(container: HTMLElement, page: Page, on_hover: (c: Component | null, x: number, y: number) => void) {
  const { store, actions, state } = page;
  let is_gone = false;
  let view: SceneView | null = null;
  const callbacks = {
    on_error: (message: string) => add_notice(store, "fault", message),
    on_select: (component: Component | null) => actions.select(component),
    on_hover,
    on_select_pos: (pos: number) => actions.select_pos(pos),
    on_select_node: (node: string) => (drawn_file(store) ? actions.select(component_of_node(node)) : go(page, node)),
    on_toggle: (component: Component) => actions.toggle(component),
    can_turn: () => can_turn(page),
    on_turn: (query: number, key: number) => draw_turn(page, query, key),
  };
  page.mount_scene(container, callbacks).then(
    (mounted) => {
      if (is_gone) mounted.dispose();
      else state.scene.value = view = mounted;
    },
    (error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      if (is_gone) return;
      state.scene_problem.value = reason;
      state.drawer_open.value = state.drawer_tall.value = true; // the table is the way in now
    },
  );
  return () => {
    is_gone = true;
    view?.dispose();
    state.scene.value = null;
  };
}

const TURN = Math.PI / 24;
const VIEWS: { preset: ViewPreset; label: string; keys: string }[] = [
  { preset: "three_quarter", label: "3D", keys: "1" },
  { preset: "front", label: "Front", keys: "2" },
  { preset: "time", label: "Time", keys: "3" },
];

function ViewButtons(): JSX.Element {
  const { store, state } = use_page();
  const scene = state.scene.value;
  const selection = store.selection.value;
  const tool = (icon: IconName, label: string, act: (scene: SceneView) => void): JSX.Element => (
    <IconButton icon={icon} label={label} disabled={!scene} onClick={() => scene && act(scene)} />
  );
  return (
    <div class="view-tools" role="toolbar" aria-label="View">
      <div class="segmented">
        {VIEWS.map(({ preset, label, keys }) => (
          <button type="button" key={preset} disabled={!scene} title={`${label} view (${keys})`}
            aria-label={`${label} view`} onClick={() => scene?.set_view(preset)}>{label}</button>
        ))}
      </div>
      <button type="button" class="button small" disabled={!scene} title={shown_layers(store) ? "Show the whole layer range (0)" : "Show the whole model (0)"}
        onClick={() => scene?.fit()}>Fit</button>
      <button type="button" class="button small" disabled={!scene || !selection || !is_layer_shown(shown_layers(store), selection.layer)} title="Fly to the selection (f)"
        onClick={() => selection && scene?.focus(selection)}>Focus</button>
      <span class="divider" />
      <LayerRangeFields />
      <span class="divider" />
      {tool("left", "Turn left", (view) => view.orbit(-TURN, 0))}
      {tool("right", "Turn right", (view) => view.orbit(TURN, 0))}
      {tool("up", "Turn up", (view) => view.orbit(0, -TURN))}
      {tool("down", "Turn down", (view) => view.orbit(0, TURN))}
      {tool("plus", "Zoom in", (view) => view.zoom(1.25))}
      {tool("minus", "Zoom out", (view) => view.zoom(0.8))}
    </div>
  );
}

function ChannelPicker(): JSX.Element {
  const { store } = use_page();
  const missing = missing_channel(store, "direct_logit");
  const { answers } = store.analysis.causal;
  const channel = store.display_channel.value;
  const nothing_measured = answers.value.length === 0;
  const options: { value: DisplayChannel; label: string; hint: string; off?: boolean }[] = [
    { value: "activation", label: "Activation", hint: "How strongly each component acts at this token" },
    {
      value: "direct_logit", label: "Direct logit", off: missing !== null,
      hint: missing ?? "What each component adds to (orange) or takes from (blue) the target's logit",
    },
    {
      value: "causal", label: "Causal", off: nothing_measured && channel !== "causal",
      hint: nothing_measured ? "Nothing is measured yet: see the Causal map tab below"
        : "What the metric loses when each component is switched off alone",
    },
  ];
  return (
    <div class="channel-picker">
      <div class="segmented" role="group" aria-label="What brightness shows">
        {options.map(({ value, label, hint, off }) => (
          <button type="button" key={value} aria-pressed={channel === value} disabled={off}
            title={hint} onClick={() => (store.display_channel.value = value)}>{label}</button>
        ))}
      </div>
      {channel === "causal" ? <CausalSwitch /> : <ComparedSwitch />}
    </div>
  );
}

const CAUSAL_VIEWS: { view: CausalView; label: string; hint: string }[] = [
  { view: "attributed", label: "Attributed", hint: "What attribution says of the parts that were measured" },
  { view: "measured", label: "Measured", hint: "What the metric lost with each part switched off alone" },
  { view: "difference", label: "Difference", hint: "Measured minus attributed: where attribution misleads" },
];

function CausalSwitch(): JSX.Element {
  const { view } = use_page().store.analysis.causal;
  return (
    <div class="segmented" role="group" aria-label="Which map">
      {CAUSAL_VIEWS.map(({ view: own, label, hint }) => (
        <button type="button" key={own} aria-pressed={view.value === own} title={hint}
          onClick={() => (view.value = own)}>{label}</button>
      ))}
    </div>
  );
}

function Legend(): JSX.Element | null {
  const { state } = use_page();
  const scene = state.scene.value;
  const legend = useSignal<LegendSpec | null>(null);
  useEffect(() => {
    legend.value = scene?.legend() ?? null;
    return scene?.on_legend(() => (legend.value = scene.legend()));
  }, [scene]);
  const shown = legend.value;
  if (!shown) return null;
  const gradient = shown.stops.map((stop) => `${stop.css} ${100 * stop.at}%`).join(", ");
  return (
    <figure class="legend" aria-label="Legend">
      <figcaption><b>{shown.title}</b> <span class="muted">{shown.unit}</span></figcaption>
      <div class="legend-ramp" style={{ backgroundImage: `linear-gradient(to right, ${gradient})` }} />
      {shown.scales.map((scale) => (
        <div class="legend-scale" key={scale.name}>
          <div class="legend-ticks">
            {scale.ticks.map((tick) => (
              <span key={tick.at} style={{ left: `${100 * tick.at}%` }}
                data-end={tick.at <= 0 ? "low" : tick.at >= 1 ? "high" : undefined}>{tick.label}</span>
            ))}
          </div>
          <span class="legend-name">{scale.name}</span>
        </div>
      ))}
      <p class="legend-note">{shown.note}</p>
    </figure>
  );
}

/** Connection trouble, where the eyes are. */
function FlatStatus(): JSX.Element | null {
  const { store, actions } = use_page();
  const connection = store.connection.value;
  if (connection === "open" || connection === "connecting") return null;
  return (
    <div class="banner" role="alert" data-kind={connection}>
      <span>{store.connection_message.value ?? "The connection to the server is closed."}</span>
      <button type="button" class="button small" onClick={() => actions.retry()}>Try again</button>
    </div>
  );
}

function PointedCard({ pointed }: { pointed: Pointed }): JSX.Element | null {
  const { store } = use_page();
  const info = store.model_info.value;
  if (!info) return null;
  const { component } = pointed;
  const { history, current_pos } = drawn_text(store);
  const step = explained_step(store, history.get(current_pos));
  const direct = direct_of(step, component, info);
  const factor = factor_on(store.interventions.value, component);
  const flip = pointed.x > window.innerWidth - 260;
  const style = { left: `${pointed.x}px`, top: `${pointed.y}px` };
  return (
    <div class="pointed-card" style={style} data-flip={flip || undefined} role="tooltip">
      <b>{component_id(component)}</b> <span class="muted">{kind_name(component)}</span>
      <div class="card-value" title={value_meaning(component)}>
        {step?.compared && <span class="muted">{value_name(step)} </span>}
        {step?.compared === "difference" ? signed_text(activation_of(step, component, info)) : number_text(activation_of(step, component, info))}
        {direct !== null && <span class="muted"> · {signed_text(direct)} logit{step?.signed?.of === "causal" && ` ${direct_name(step).toLowerCase()}`}</span>}
      </div>
      {factor !== null && <div class="off-mark">{factor === 0 ? "ablated" : `× ${number_text(factor)}`}</div>}
    </div>
  );
}
