// Vectors over a reload: kept in this browser under a name, of the model that they are of.
import type { ModelInfo } from "../protocol/generated";

const MAX_KEPT = 32;
/** Of one list; browsers give a page some five million in all. */
const MAX_CHARS = 1_500_000;
type Model = Pick<ModelInfo, "weights_sha256" | "model_name">;

const key_of = (name: string, model: Model): string => `livelens.${name}.${model.weights_sha256 || model.model_name}`;

/** Keep the first of `entries`; a browser that keeps nothing is no trouble: they are here until one leaves. */
export function keep_list(name: string, entries: readonly object[], model: Model | null): void {
  if (!model) return;
  let n_chars = 0;
  const texts = entries.slice(0, MAX_KEPT).map((entry) => JSON.stringify(entry)).filter((text) => (n_chars += text.length) <= MAX_CHARS);
  try {
    localStorage.setItem(key_of(name, model), `[${texts.join(",")}]`);
  } catch {
    // no storage, or none left: see above
  }
}

/** What was kept for `model`, each as `read` reads it; what it cannot read is left out. */
export function kept_list<T>(name: string, model: Model, read: (entry: unknown) => T | null): T[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key_of(name, model)) ?? "[]");
    if (!Array.isArray(value)) return [];
    return value.slice(0, MAX_KEPT).map(read).filter((held) => held !== null);
  } catch {
    return [];
  }
}
