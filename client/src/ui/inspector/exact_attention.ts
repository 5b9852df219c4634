// A head's exact attention row: asked for once per head, position and revision, when the run is not racing on.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Refusal } from "../../connection/connection";
import { attention_row, type AttentionRow } from "../../store/query";
import { use_page } from "../page";
import type { Shown } from "../shown_step";

export interface ShownRow extends AttentionRow {
  exact: boolean;
}

const SETTLE_MS = 150;

/** The row as it came with the step, and exact as soon as the server has answered; null while there is none. */
export function use_attention_row(layer: number, head: number, shown: Shown): ShownRow | null {
  const { store, actions } = use_page();
  const { pos, step } = shown.step.value;
  const key = `${store.run.value?.run_id} ${layer} ${head} ${pos} ${step?.revision}`;
  const exact = useSignal<{ key: string; weights: Float32Array } | null>(null);
  const has_row = !!step?.tensors.attention;
  useEffect(() => {
    if (!has_row) return undefined;
    let is_looked_at = true;
    const timer = setTimeout(() => {
      actions.exact_attention(layer, head, pos).then(
        (answer) => {
          if (answer.exact && is_looked_at) exact.value = { key, weights: Float32Array.from(answer.row.values) };
        },
        (error: unknown) => {
          if (!(error instanceof Refusal)) throw error; // the 8-bit row stays, and says so
        },
      );
    }, SETTLE_MS);
    return () => {
      is_looked_at = false;
      clearTimeout(timer);
    };
  }, [key, has_row]);
  if (exact.value?.key === key) {
    return { keys: Array.from(exact.value.weights, (weight, at) => ({ pos: at, weight })), rest: 0, exact: true };
  }
  const row = attention_row(step, layer, head);
  return row && { ...row, exact: false };
}
