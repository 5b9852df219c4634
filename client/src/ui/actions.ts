// What a person can do, in one place: buttons, keys, table and canvas all call these.
import type { ReadonlySignal } from "@preact/signals";
import type { Connection, ForkSettings, RunCommand } from "../connection/connection";
import { refusal_of, type Told } from "../connection/requests";
import { component_id } from "../layout/component_id";
import type { Component, InterventionSpec } from "../protocol/generated";
import type { Ask } from "../protocol/questions";
import { reaches_back, toggled, with_all_enabled, with_factor } from "../store/interventions";
import { InterventionSteps } from "../store/interventions_steps";
import { factor_on } from "../store/query";
import { add_notice, type Store } from "../store/store";
import type { TwinMode } from "../store/types";
import { SetChanges, type Change } from "./interventions/set_changes";
import { announce_taken, type PageState } from "./page";
import { read_settings, type RunForm } from "./run/run_form";

const RECOMPUTED = "This is about tokens that were read already: the text was computed again under the set, its words "
  + "kept. For other words choose “on all tokens, written anew”.";

/** Where something can be refused, `told` hears why; without it a message says so. */
export interface Actions {
  can_undo: ReadonlySignal<boolean>;
  can_redo: ReadonlySignal<boolean>;
  start(paused?: boolean): Promise<void>;
  pause_or_resume(): Promise<void>;
  step(): Promise<void>;
  stop(): Promise<void>;
  /** Branch off the watched run as asked, or tell the sentence that says what does not fit. */
  fork(fork: ForkSettings | string, told: Told): Promise<void>;
  watch_run(run_id: string): Promise<boolean>;
  retry(): void;
  select(component: Component | null): void;
  select_pos(pos: number): void;
  move_pos(by: number): void;
  follow(): void;
  /** Switch `component` off, or back on: a zero intervention on it alone. */
  toggle(component: Component, told?: Told): void;
  /** Multiply what `component` writes by `amount`; 1 leaves it alone. */
  set_factor(component: Component, amount: number): void;
  set_enabled(intervention_id: string, enabled: boolean, told?: Told): void;
  set_all_enabled(enabled: boolean): void;
  remove(intervention_id: string, told?: Told): void;
  /** Change the intervention set; one step of undo. Whether it was taken. */
  change(change: Change, told?: Told): Promise<boolean>;
  /** Change it while something is being dragged: sent at most ten times a second, one step until `end_gesture`. */
  change_live(gesture: string, change: Change, told?: Told): void;
  end_gesture(): void;
  undo(): void;
  redo(): void;
  /** Carry the run's clean twin so from the next token on, or begin the next run with it. Whether it was taken. */
  set_twin(mode: TwinMode): Promise<boolean>;
  /** Have the strongest components of every new token measured, or no longer. Whether it was taken. */
  set_live(is_on: boolean): Promise<boolean>;
  /** Exact float32 values of `component` over the whole text. */
  exact_values: Connection["request_values"];
  exact_attention: Connection["request_attention"];
  /** Why a token, what a part does. */
  ask: Ask;
  put_direction: Connection["put_direction"];
  put_rank_one_edit: Connection["put_rank_one_edit"];
}

export function create_actions(store: Store, state: PageState, form: RunForm, connection: Connection): Actions {
  const tell: Told = (why) => add_notice(store, "fault", why);
  /** Whether it was not refused. */
  async function attempt(work: () => Promise<unknown>, told = tell): Promise<boolean> {
    const refusal = await refusal_of(work());
    if (refusal !== null) told(refusal);
    return refusal === null;
  }

  type Specs = readonly InterventionSpec[];
  const is_about_past = (before: Specs, next: Specs): boolean =>
    reaches_back(before, next, store.history.newest_pos + 1) && store.run.peek()?.state !== "finished";

  async function send(next: Specs): Promise<void> {
    const how = state.recompute.peek();
    const must_recompute = how === "from_now" && is_about_past(store.interventions.peek(), next);
    await connection.set_interventions(next, {
      mode: how === "from_now" && !must_recompute ? "from_now" : "recompute",
      restart: how === "restart",
    });
    if (must_recompute && store.run.peek()) add_notice(store, "info", RECOMPUTED);
  }

  const steps = new InterventionSteps();
  const changes = new SetChanges(store, steps, {
    send: (next) => refusal_of(send(next)),
    // A text that is computed anew for every move of a slider would never be read.
    is_live: (before, next) => state.recompute.peek() === "from_now" && !is_about_past(before, next),
  });

  const command = async (type: RunCommand): Promise<void> => void (await attempt(() => connection.command_run(type)));

  async function start(paused = false): Promise<void> {
    const settings = read_settings(form);
    if (typeof settings === "string") {
      add_notice(store, "fault", settings);
      return;
    }
    await attempt(() => connection.start_run(settings, paused));
  }

  return {
    ...looking(store),
    ...changing(store, state, changes),
    can_undo: steps.can_undo,
    can_redo: steps.can_redo,
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
    async fork(fork, told) {
      if (typeof fork === "string") {
        told(fork);
        return;
      }
      await attempt(async () => {
        await connection.fork_run(fork);
        state.branches.token_text.value = ""; // the next branch is another thought
      }, told);
    },
    watch_run: (run_id) => attempt(() => connection.watch_run(run_id)),
    retry: () => connection.retry(),
    set_twin: (mode) => attempt(() => connection.set_twin(mode)),
    set_live: (is_on) => attempt(() => connection.set_live(is_on)),
    exact_values: (components, from_pos, to_pos) => connection.request_values(components, from_pos, to_pos),
    ask: connection.ask_about_run,
    put_direction: (direction) => connection.put_direction(direction),
    put_rank_one_edit: (edit) => connection.put_rank_one_edit(edit),
    exact_attention: (layer, head, pos) => connection.request_attention(layer, head, pos),
  };
}

type Looking = Pick<Actions, "select" | "select_pos" | "move_pos" | "follow">;

function looking(store: Store): Looking {
  const select_pos = (pos: number): void => {
    const newest = store.history.newest_pos;
    store.follow.value = pos >= newest;
    store.current_pos.value = Math.max(0, Math.min(pos, newest));
  };
  return {
    select(component) {
      store.selection.value = component;
    },
    select_pos,
    move_pos: (by) => select_pos(store.current_pos.peek() + by),
    follow() {
      store.follow.value = true;
      store.current_pos.value = store.history.newest_pos;
    },
  };
}

type Changing = Pick<Actions, "toggle" | "set_factor" | "set_enabled" | "set_all_enabled" | "remove" | "change" | "change_live"
  | "end_gesture" | "undo" | "redo">;

function changing(store: Store, state: PageState, changes: SetChanges): Changing {
  return {
    toggle(component, told) {
      const is_off = (): boolean => factor_on(store.interventions.peek(), component) === 0;
      const answer = changes.change((specs) => toggled(specs, component), told);
      const was_shown_off = is_off();
      // Told once the server took it, and by the newest change alone where a second one came meanwhile.
      void announce_taken(state, answer, () =>
        is_off() === was_shown_off ? `${component_id(component)} ${was_shown_off ? "ablated" : "restored"}` : null);
    },
    set_factor: (component, amount) => changes.change((specs) => with_factor(specs, component, amount)),
    set_enabled: (id, enabled, told) =>
      changes.change((specs) => specs.map((spec) => (spec.intervention_id === id ? { ...spec, enabled } : spec)), told),
    set_all_enabled(enabled) {
      const { were_on } = state.interventions;
      const on = store.interventions.peek().filter((spec) => spec.enabled);
      changes.change((specs) => with_all_enabled(specs, enabled, were_on.peek()));
      if (!enabled) were_on.value = new Set(on.map((spec) => spec.intervention_id));
    },
    remove: (id, told) => changes.change((specs) => specs.filter((spec) => spec.intervention_id !== id), told),
    change: (change, told) => changes.change(change, told),
    change_live: (gesture, change, told) => changes.change_live(gesture, change, told),
    end_gesture: () => changes.end_gesture(),
    undo: () => changes.undo(),
    redo: () => changes.redo(),
  };
}
