// Directions over a reload: kept in this browser, of the model that they are of.
import type { ModelInfo } from "../../protocol/generated";
import { read_written, written } from "./direction_text";
import type { HeldDirection } from "./held_direction";

const MAX_KEPT = 32;
const key_of = (info: ModelInfo): string => `livelens.directions.${info.weights_sha256 || info.model_name}`;

/** Keep `held` for the model of `info`; a browser that keeps nothing is no trouble: they are here until one leaves. */
export function keep_directions(held: readonly HeldDirection[], info: ModelInfo | null): void {
  if (!info) return;
  try {
    localStorage.setItem(key_of(info), JSON.stringify(held.slice(0, MAX_KEPT).map(written)));
  } catch {
    // no storage, or none left: see above
  }
}

/** What was kept for the model of `info`; what cannot be read is left out. */
export function kept_directions(info: ModelInfo): HeldDirection[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key_of(info)) ?? "[]");
    if (!Array.isArray(value)) return [];
    return value.slice(0, MAX_KEPT).map((entry) => read_written(entry, info.d_model)).filter((held) => held !== null);
  } catch {
    return [];
  }
}
