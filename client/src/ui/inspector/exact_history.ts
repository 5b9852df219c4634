// A component's values along the text: from the held steps at once, exact from the server soon after.
import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Refusal } from "../../connection/connection";
import { component_id } from "../../layout/component_id";
import type { Component, ModelInfo } from "../../protocol/generated";
import { activation_of } from "../../store/query";
import type { Store } from "../../store/store";
import type { Actions } from "../actions";
import { use_page } from "../page";
import { throttled, type Shown } from "../shown_step";

export interface ValueAt {
  value: number;
  exact: boolean;
}

export interface ComponentHistory {
  /** By position. */
  values: ReadonlyMap<number, ValueAt>;
  n_positions: number;
}

const ASK_EVERY_MS = 250;

interface Exact {
  key: string;
  /** By position, with the revision of the step it belongs to: a recompute makes it stale. */
  values: Map<number, { value: number; revision: number }>;
}

/** Ask for the positions that are not held exactly under their step's revision. */
function ask_exact(component: Component, key: string, store: Store, actions: Actions, exact: Signal<Exact>): void {
  const held = exact.peek().key === key ? exact.peek().values : new Map<number, { value: number; revision: number }>();
  const revision_of = (pos: number): number | undefined => store.history.get(pos)?.revision;
  const missing = store.history.positions().filter((pos) => held.get(pos)?.revision !== revision_of(pos));
  const [from] = missing;
  if (from === undefined || !store.run.peek()) return;
  const asked = new Map(missing.map((pos) => [pos, revision_of(pos)]));
  actions.exact_values([component], from, null).then(
    (answer) => {
      if (!answer.exact) return;
      const values = new Map(exact.peek().key === key ? exact.peek().values : held);
      answer.positions.forEach((pos, i) => {
        const [value, revision] = [answer.values.values[i], asked.get(pos)];
        if (value !== undefined && revision !== undefined) values.set(pos, { value, revision });
      });
      exact.value = { key, values };
    },
    (error: unknown) => {
      if (!(error instanceof Refusal)) throw error; // the 8-bit values stay, and say so
    },
  );
}

/** Values of `component` over the held positions, exact where the server has answered. */
export function use_exact_history(component: Component, info: ModelInfo, shown: Shown): ComponentHistory {
  const { store, actions } = use_page();
  const run_id = store.run.value?.run_id ?? "";
  const key = `${run_id} ${component_id(component)}`;
  const exact = useSignal<Exact>({ key, values: new Map() });
  const version = shown.version.value;

  const ask = useMemo(() => throttled(() => ask_exact(component, key, store, actions, exact), ASK_EVERY_MS), [key]);
  useEffect(ask, [key, version]);

  return useMemo(() => {
    const values = new Map<number, ValueAt>();
    const own = exact.value.key === key ? exact.value.values : null;
    for (const pos of store.history.positions()) {
      const step = store.history.get(pos);
      const known = own?.get(pos);
      if (known && known.revision === step?.revision) values.set(pos, { value: known.value, exact: true });
      else {
        const value = activation_of(step, component, info);
        if (value !== null) values.set(pos, { value, exact: false });
      }
    }
    return { values, n_positions: store.tokens.peek().length };
  }, [key, version, exact.value, info]);
}
