// How strongly a token's chip is tinted by the metric of choice: 0 calm, 1 remarkable, none where unknown.
import { settled_layer } from "../../store/query";
import type { Store } from "../../store/store";
import type { TokenChip } from "../../store/types";
import { number_text } from "../format";
import type { ChipMetric } from "../page";
import { importance_tint, is_importance } from "../why/importance";

export interface Tint {
  /** 1 is full; below 0: the token speaks against. */
  strength: number;
  text: string;
}

const FULL_SURPRISE_BITS = 10;
const FULL_ENTROPY_NATS = 6;
const FULL_KL_NATS = 1;

/** A metric's range in words, for the legend beside the strip. */
export const METRIC_RANGE: Record<ChipMetric, { name: string; low: string; high: string }> = {
  surprise: { name: "Surprise", low: "0 bit", high: `${FULL_SURPRISE_BITS} bit` },
  entropy: { name: "Entropy", low: "0 nat", high: `${FULL_ENTROPY_NATS} nat` },
  settled: { name: "Settled at layer", low: "first", high: "last" },
  twin_kl: { name: "KL from the clean twin", low: "0 nat", high: `${FULL_KL_NATS} nat` },
  none: { name: "No tint", low: "", high: "" },
  importance_frozen: { name: "Relevance", low: "against", high: "for" },
  importance_gradient: { name: "Gradient × input", low: "against", high: "for" },
  importance_integrated: { name: "Integrated gradients", low: "against", high: "for" },
};

/** The tint of the chip at `chip.pos`: about how this token was predicted, one position earlier. */
export function tint_of(store: Store, chip: TokenChip, metric: ChipMetric): Tint | null {
  if (is_importance(metric)) return importance_tint(store, chip.pos, metric);
  if (metric === "surprise") {
    if (chip.logprob === null) return null;
    const bits = -chip.logprob / Math.LN2;
    return { strength: bits / FULL_SURPRISE_BITS, text: `surprise ${number_text(bits)} bit` };
  }
  if (metric === "entropy") {
    if (chip.entropy === null) return null;
    return { strength: chip.entropy / FULL_ENTROPY_NATS, text: `entropy ${number_text(chip.entropy)} nat` };
  }
  if (metric === "settled") {
    const n_layers = store.model_info.peek()?.n_layers ?? 0;
    const layer = settled_layer(store.history.get(chip.pos - 1));
    if (layer === null || n_layers === 0) return null;
    const text = layer >= n_layers ? "settled only after the last layer" : `settled at layer ${layer}`;
    return { strength: layer / n_layers, text };
  }
  if (metric === "twin_kl") {
    const kl = store.history.get(chip.pos - 1)?.twin?.kl;
    // Square root, as distances go: a tenth of a nat is something.
    return kl === undefined ? null : { strength: Math.sqrt(Math.max(0, kl) / FULL_KL_NATS), text: `KL from the clean twin ${number_text(kl)} nat` };
  }
  return null;
}
