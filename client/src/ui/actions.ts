// What a person can do, in one place: buttons, keys, table and canvas all call these.
import { signal, type ReadonlySignal } from "@preact/signals";
import { Refusal, type Connection, type RunCommand } from "../connection/connection";
import { component_id } from "../layout/component_id";
import type { Component, InterventionSpec } from "../protocol/generated";
import type { Ask } from "../protocol/questions";
import { factor_on } from "../store/query";
import { add_notice, component_key, type Store } from "../store/store";
import type { PageState } from "./page";
import { read_settings, type RunForm } from "./run_form";

const MAX_UNDO = 50;

export interface Actions {
  can_undo: ReadonlySignal<boolean>;
  start(paused?: boolean): Promise<void>;
  pause_or_resume(): Promise<void>;
  step(): Promise<void>;
  stop(): Promise<void>;
  retry(): void;
  select(component: Component | null): void;
  select_pos(pos: number): void;
  move_pos(by: number): void;
  follow(): void;
  /** Switch `component` off, or back on: a zero intervention on it alone. */
  toggle(component: Component): void;
  /** Multiply what `component` writes by `amount`; 1 leaves it alone. */
  set_factor(component: Component, amount: number): void;
  set_enabled(intervention_id: string, enabled: boolean): void;
  set_all_enabled(enabled: boolean): void;
  remove(intervention_id: string): void;
  undo(): void;
  /** Exact float32 values of `component` over the whole text. */
  exact_values: Connection["request_values"];
  exact_attention: Connection["request_attention"];
  /** Why a token, what a part does. */
  ask: Ask;
}

const acts_alone_on = (spec: InterventionSpec, component: Component): boolean =>
  spec.components.length === 1 && component_key(spec.components[0]!) === component_key(component);

function zero_on(component: Component, taken: readonly InterventionSpec[]): InterventionSpec {
  const base = component_id(component);
  let intervention_id = base;
  for (let n = 2; taken.some((spec) => spec.intervention_id === intervention_id); n++) intervention_id = `${base}.${n}`;
  return { intervention_id, operation: "zero", components: [component], amount: 0, enabled: true };
}

/** The set with `component` switched the other way. */
export function toggled(specs: readonly InterventionSpec[], component: Component): InterventionSpec[] {
  const own = specs.filter((spec) => acts_alone_on(spec, component));
  if (own.length === 0) return [...specs, zero_on(component, specs)];
  const enabled = !own.some((spec) => spec.enabled);
  return specs.map((spec) => (acts_alone_on(spec, component) ? { ...spec, enabled } : spec));
}

/** The set with `component` multiplied by `amount`; no entry of its own is left for 1. */
export function with_factor(specs: readonly InterventionSpec[], component: Component, amount: number): InterventionSpec[] {
  const others = specs.filter((spec) => !acts_alone_on(spec, component));
  if (amount === 1) return others;
  const spec = specs.find((own) => acts_alone_on(own, component)) ?? zero_on(component, specs);
  const operation = amount === 0 ? "zero" : "scale";
  const changed: InterventionSpec = { ...spec, operation, amount, enabled: true };
  return specs.includes(spec) ? specs.flatMap((own) => (own === spec ? [changed] : others.includes(own) ? [own] : []))
    : [...others, changed];
}

export function create_actions(store: Store, state: PageState, form: RunForm, connection: Connection): Actions {
  const undo_stack = signal<readonly (readonly InterventionSpec[])[]>([]);
  const can_undo = signal(false);
  undo_stack.subscribe((stack) => (can_undo.value = stack.length > 0));

  async function attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      add_notice(store, "fault", error.message);
    }
  }

  function send_set(next: readonly InterventionSpec[], remember = true): void {
    const before = store.interventions.peek();
    const limit = store.limits.peek()?.max_interventions;
    if (limit !== undefined && next.length > limit) {
      add_notice(store, "fault", `A set may have ${limit} interventions: remove some first.`);
      return;
    }
    if (remember) undo_stack.value = [...undo_stack.peek(), before].slice(-MAX_UNDO);
    const how = state.recompute.peek();
    void attempt(() =>
      connection.set_interventions(next, {
        mode: how === "from_now" ? "from_now" : "recompute",
        restart: how === "restart",
      }),
    );
  }

  const command = (type: RunCommand): Promise<void> => attempt(() => connection.command_run(type));

  async function start(paused = false): Promise<void> {
    const settings = read_settings(form);
    if (typeof settings === "string") {
      add_notice(store, "fault", settings);
      return;
    }
    await attempt(async () => {
      await connection.start_run(settings, paused);
      undo_stack.value = [];
    });
  }

  return {
    can_undo,
    start,
    async pause_or_resume() {
      const run = store.run.peek();
      // A run that has ended is not started anew by a key: its text would be gone.
      if (run && run.state !== "finished") await command(run.state === "paused" ? "resume" : "pause");
    },
    async step() {
      const run = store.run.peek();
      if (!run || run.state === "finished") await start(true);
      else await command("step_once");
    },
    stop: () => command("stop"),
    retry: () => connection.retry(),
    select(component) {
      store.selection.value = component;
    },
    select_pos(pos) {
      const newest = store.history.newest_pos;
      store.follow.value = pos >= newest;
      store.current_pos.value = Math.max(0, Math.min(pos, newest));
    },
    move_pos(by) {
      this.select_pos(store.current_pos.peek() + by);
    },
    follow() {
      store.follow.value = true;
      store.current_pos.value = store.history.newest_pos;
    },
    toggle(component) {
      send_set(toggled(store.interventions.peek(), component));
      const is_off = factor_on(store.interventions.peek(), component) === 0;
      state.announcement.value = `${component_id(component)} ${is_off ? "ablated" : "restored"}`;
    },
    set_factor: (component, amount) => send_set(with_factor(store.interventions.peek(), component, amount)),
    set_enabled: (id, enabled) =>
      send_set(store.interventions.peek().map((spec) => (spec.intervention_id === id ? { ...spec, enabled } : spec))),
    set_all_enabled: (enabled) => send_set(store.interventions.peek().map((spec) => ({ ...spec, enabled }))),
    remove: (id) => send_set(store.interventions.peek().filter((spec) => spec.intervention_id !== id)),
    undo() {
      const before = undo_stack.peek().at(-1);
      if (!before) return;
      undo_stack.value = undo_stack.peek().slice(0, -1);
      send_set(before, false);
    },
    exact_values: (components, from_pos, to_pos) => connection.request_values(components, from_pos, to_pos),
    ask: connection.ask_about_run,
    exact_attention: (layer, head, pos) => connection.request_attention(layer, head, pos),
  };
}
