// Sets that are kept in this browser, whatever run or model they were made with.
import { read_saved_set, SetFileError, type SavedSet } from "./set_file";

export type { SavedSet } from "./set_file";

const KEY = "livelens.intervention_sets";
const MAX_SETS = 100;

/** What this browser keeps; a set that cannot be read any more is left out. */
export function read_saved_sets(): SavedSet[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(value) ? value.slice(0, MAX_SETS).flatMap(read_one) : [];
  } catch {
    return []; // no storage in this browser or frame, or not ours: the page works without
  }
}

/** Keep `sets`; the reason where the browser does not. */
export function write_saved_sets(sets: readonly SavedSet[]): string | null {
  try {
    localStorage.setItem(KEY, JSON.stringify(sets.slice(0, MAX_SETS)));
    return null;
  } catch {
    return "This browser keeps nothing for this page: the set is here until you leave. Download it to keep it.";
  }
}

/** The list with `set` first, in the place of one of that name and model. */
export function with_set(sets: readonly SavedSet[], set: SavedSet): SavedSet[] {
  return [set, ...sets.filter((other) => other.name !== set.name || !is_same_model(other, set))];
}

const is_same_model = (a: SavedSet, b: SavedSet): boolean =>
  a.model.model_name === b.model.model_name && a.model.weights_sha256 === b.model.weights_sha256;

function read_one(value: unknown): SavedSet[] {
  try {
    return [read_saved_set(value)];
  } catch (error) {
    if (error instanceof SetFileError) return [];
    throw error;
  }
}
