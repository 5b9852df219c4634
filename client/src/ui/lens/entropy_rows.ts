// The answer about how widely heads look, as rows.
import type { Component } from "../../protocol/generated";
import type { AttentionEntropyAnswer } from "../../protocol/questions";

export interface HeadLook {
  head: Component;
  /** Nats. */
  entropy: number;
  top_key: number;
  top_weight: number;
}

/** Every head, the one that looks most narrowly first. */
export function looks_of(answer: AttentionEntropyAnswer): HeadLook[] {
  const [n_layers = 0, n_heads = 0] = answer.entropy.shape;
  return Array.from({ length: n_layers * n_heads }, (_, i): HeadLook => ({
    head: { kind: "head", layer: Math.floor(i / n_heads), index: i % n_heads },
    entropy: answer.entropy.values[i]!,
    top_key: answer.top_key.values[i]!,
    top_weight: answer.top_weight.values[i]!,
  })).sort((a, b) => a.entropy - b.entropy);
}
