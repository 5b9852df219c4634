// The sentence in the list says which: one mean or many, weights as they stand or divided by their sum.
import { expect, it } from "vitest";
import type { AttentionEdit, InterventionSpec, Reference } from "../../protocol/generated";
import { operation_words } from "./spec_words";

const TOKENS = ["It", " rains", " hard"].map((text, pos) => ({ pos, text, token_id: pos, logprob: null, entropy: null, generated: false }));
const words = (operation: InterventionSpec["operation"], fields: Partial<InterventionSpec>): string => operation_words(
  { intervention_id: "x", operation, components: [], amount: 0, enabled: true, ...fields }, TOKENS, new Map(),
);

it.each<[Reference, string]>([
  [{ source: "prompt" }, "its mean over the prompt, one for all positions"],
  [{ source: "prompt", pooled: true }, "its mean over the prompt, one for all positions"],
  [{ source: "text", texts: ["A", "B"], pooled: false }, "its mean over “A” and 1 more, position by position"],
])("a mean over %o", (reference, said) => {
  expect(words("mean", { reference })).toBe(said);
});

it.each<[AttentionEdit, string]>([
  [{ keys: [1] }, "looks at “ rains” (1), nothing else"],
  [{ keys: [1, 2], weights: [0.6, 0.2] }, "looks at “ rains” (1), “ hard” (2) with 0.6, 0.2, nothing else, weights divided by their sum"],
  [{ keys: [1], weights: [0.6], renormalise: false }, "looks at “ rains” (1) with 0.6, nothing else, weights as they stand"],
  [{ keys: [1], weights: [0.6], rest: "scaled" }, "looks at “ rains” (1) with 0.6, the rest scaled to fill up"],
])("a row set to %o", (attention, said) => {
  expect(words("attention_set", { attention })).toBe(said);
});
