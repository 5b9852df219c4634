// Live causal: what the strongest components of a token really did, measured as it was made.
import { CAUSAL_KINDS, type Component } from "../protocol/generated";
import { channel_fault } from "./capabilities";
import type { Store } from "./store";
import { same_component, type StepRecord } from "./types";

export interface LiveEffect {
  component: Component;
  /** What it writes straight to the metric, logits. */
  attributed: number;
  /** The metric minus what it is when this one alone is zeroed at this token, logits. */
  measured: number;
}

/** The measured components of a token, strongest attributed first; null where it was not measured. */
export function live_effects(step: Pick<StepRecord, "tensors"> | undefined): readonly LiveEffect[] | null {
  const { causal_kind, causal_layer, causal_index, causal_attributed, causal_measured } = step?.tensors ?? {};
  if (!causal_kind || !causal_layer || !causal_index || !causal_attributed || !causal_measured) return null;
  const effects: LiveEffect[] = [];
  for (let i = 0; i < causal_kind.values.length; i++) {
    const kind = CAUSAL_KINDS[causal_kind.values[i]!];
    if (kind === undefined) continue; // of a newer server
    effects.push({
      component: { kind, layer: causal_layer.values[i]!, index: causal_index.values[i]! },
      attributed: causal_attributed.values[i]!,
      measured: causal_measured.values[i]!,
    });
  }
  return effects;
}

/** Measured effects of one component by position, where it was among the strongest. */
export function live_history(store: Store, component: Component): Map<number, number> {
  const found = new Map<number, number>();
  for (const pos of store.history.positions()) {
    const effect = live_effects(store.history.get(pos))?.find((one) => same_component(one.component, component));
    if (effect) found.set(pos, effect.measured);
  }
  return found;
}

/** Why this model or this source cannot be measured as tokens come; null where it can. */
export function live_causal_fault(store: Store): string | null {
  return channel_fault(store, "causal_effects", "this server does not measure");
}
