// The page's whole state: signals for what changes at human speed, History for what changes per token.
import { computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { Component, InterventionSpec, Limits, ModelInfo } from "../protocol/generated";
import { Analysis } from "./analysis";
import { create_known_runs, remember_runs, type KnownRuns } from "./branches";
import { History } from "./history";
import { create_layer_range, type LayerRange } from "./layer_range";
import { StreamPaths } from "./stream_paths";
import type { Replay } from "./replay";
import type { ConnectionState, DisplayChannel, Notice, RunView, Theme, TokenChip, TwinMode } from "./types";

export interface Store {
  connection: Signal<ConnectionState>;
  model_info: Signal<ModelInfo | null>;
  /** The names that the server has given this page, one a connection: `author` says who did something. */
  own_viewer_ids: Signal<readonly string[]>;
  run: Signal<RunView | null>;
  /** Every run that this page has watched, by run_id. */
  known_runs: Signal<KnownRuns>;
  /** Prompt and generated tokens by position; the last one may not have a step yet. */
  tokens: Signal<readonly TokenChip[]>;
  history: History;
  /** Position whose activations are shown; -1 when there is none. */
  current_pos: Signal<number>;
  /** The shown position goes along with the newest step. */
  follow: Signal<boolean>;
  selection: Signal<Component | null>;
  hovered: Signal<Component | null>;
  /** The layers that are drawn and listed; null: all. Read it through `shown_layers`, which knows the model. */
  layer_range: Signal<LayerRange | null>;
  /** Components gathered to be changed together, beside the selection. */
  picked: Signal<readonly Component[]>;
  /** The whole intervention set, as last sent or applied. */
  interventions: Signal<readonly InterventionSpec[]>;
  /** Keys `kind:layer:index` of every component that an enabled intervention touches. */
  touched: ReadonlySignal<ReadonlySet<string>>;
  display_channel: Signal<DisplayChannel>;
  /** The clean twin as the watched run has it, or as the next run begins with it. */
  twin_mode: Signal<TwinMode>;
  /** Some held step of the watched run has a twin. */
  twin_seen: Signal<boolean>;
  /** The person wants the strongest components measured at every new token, which takes time. */
  is_measuring_live: Signal<boolean>;
  theme: Signal<Theme>;
  reduced_motion: Signal<boolean>;
  tokens_per_second: Signal<number | null>;
  /** The server's bounds; none before its hello. */
  limits: Signal<Limits | null>;
  /** Why the connection is refused or waits; none when all is well. */
  connection_message: Signal<string | null>;
  notices: Signal<readonly Notice[]>;
  /** The recording that is shown in a server's place; none while a model answers. */
  replay: Signal<Replay | null>;
  /** What is asked about the run, and the answers. */
  analysis: Analysis;
  /** The residual stream's paths in the picture. */
  stream: StreamPaths;
}

export function component_key(component: Component): string {
  return `${component.kind}:${component.layer}:${component.index}`;
}

export function create_store(): Store {
  const interventions = signal<readonly InterventionSpec[]>([]);
  const store: Store = {
    connection: signal<ConnectionState>("connecting"),
    model_info: signal<ModelInfo | null>(null),
    own_viewer_ids: signal<readonly string[]>([]),
    run: signal<RunView | null>(null),
    known_runs: create_known_runs(),
    tokens: signal<readonly TokenChip[]>([]),
    history: new History(),
    current_pos: signal(-1),
    follow: signal(true),
    selection: signal<Component | null>(null),
    hovered: signal<Component | null>(null),
    layer_range: create_layer_range(),
    picked: signal<readonly Component[]>([]),
    interventions,
    touched: computed(
      () =>
        new Set(interventions.value.filter((spec) => spec.enabled).flatMap((spec) => spec.components.map(component_key))),
    ),
    display_channel: signal<DisplayChannel>("activation"),
    twin_mode: signal<TwinMode>("off"),
    twin_seen: signal(false),
    is_measuring_live: signal(false),
    theme: signal<Theme>("dark"),
    reduced_motion: signal(false),
    tokens_per_second: signal<number | null>(null),
    limits: signal<Limits | null>(null),
    connection_message: signal<string | null>(null),
    notices: signal<readonly Notice[]>([]),
    replay: signal<Replay | null>(null),
    analysis: new Analysis(),
    stream: new StreamPaths(),
  };
  remember_runs(store);
  return store;
}

const MAX_NOTICES = 5;
let last_notice_id = 0;

/** Tell the person something; the same text twice is told once. */
export function add_notice(store: Store, level: Notice["level"], text: string): void {
  const others = store.notices.peek().filter((notice) => notice.text !== text);
  store.notices.value = [...others, { id: ++last_notice_id, level, text }].slice(-MAX_NOTICES);
}

export function drop_notice(store: Store, id: number): void {
  store.notices.value = store.notices.peek().filter((notice) => notice.id !== id);
}
