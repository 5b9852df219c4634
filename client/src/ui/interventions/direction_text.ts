// Directions as text: inside a set's file, and in this browser's storage.
import { direction_recipe } from "../../protocol/event_checks";
import type { DirectionRecipe } from "../../protocol/generated";
import { floats_text, length_of, text_floats } from "../float_text";
import { checked } from "../json_file";
import type { HeldDirection } from "./held_direction";

/** A direction with its numbers; `data` is float32 little-endian [d_model]. */
export interface WrittenDirection {
  direction_id: string;
  name: string;
  recipe: DirectionRecipe;
  layer: number | null;
  data: string;
}

export function written({ info, vector }: HeldDirection): WrittenDirection {
  const { direction_id, name, recipe, layer } = info;
  return { direction_id, name, recipe, layer, data: floats_text(vector) };
}

/** The direction that `value` says, of `d_model` numbers; null where it says none. */
export function read_written(value: unknown, d_model: number): HeldDirection | null {
  if (typeof value !== "object" || value === null) return null;
  const { direction_id, name, layer, data, recipe } = value as Record<string, unknown>;
  if (typeof direction_id !== "string" || typeof name !== "string" || typeof data !== "string") return null;
  if (layer !== null && !(Number.isInteger(layer) && (layer as number) >= 0)) return null;
  const vector = text_floats(data);
  const made_by = read_recipe(recipe);
  if (vector?.length !== d_model || !made_by) return null;
  const info = {
    direction_id: direction_id.slice(0, 64), name: name.slice(0, 120), recipe: made_by, d_model, norm: length_of(vector),
    layer: layer as number | null,
  };
  return { info, vector, separation: null, accuracy: null };
}

/** The recipe in text or in an object; null where there is none. */
export const read_recipe = (value: unknown): DirectionRecipe | null => checked(direction_recipe, value);
