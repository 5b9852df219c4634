// Rank-1 edits as text: inside a set's file, and in this browser's storage. What is read may come from anybody.
import { rank_one_recipe } from "../../protocol/event_checks";
import type { ModelInfo, RankOneRecipe } from "../../protocol/generated";
import { floats_text, length_of, text_floats } from "../float_text";
import { checked } from "../json_file";
import type { HeldEdit } from "./edits_state";

/** An edit with its numbers, float32 little-endian in base64: `key` [d_in] and `value` [d_model]. */
export interface WrittenEdit {
  edit_id: string;
  name: string;
  recipe: RankOneRecipe;
  key: string;
  value: string;
}

type Widths = Pick<ModelInfo, "d_mlp" | "d_model">;

export function written_edit({ info: { edit_id, name, recipe }, key, value }: HeldEdit): WrittenEdit {
  return { edit_id, name, recipe, key: floats_text(key), value: floats_text(value) };
}

/** The edit that `entry` says, for a model of these widths; what is wrong with it where it says none. */
export function read_written_edit(entry: unknown, { d_mlp, d_model }: Widths): HeldEdit | string {
  if (typeof entry !== "object" || entry === null) return "an edit in it is no object";
  const { edit_id, name, key, value, recipe } = entry as Record<string, unknown>;
  if (typeof edit_id !== "string" || typeof name !== "string") return "an edit in it has no name";
  const called = `the edit “${name.slice(0, 120)}”`;
  const made_by = read_edit_recipe(recipe);
  if (!made_by) return `${called} does not say what made it`;
  const keys = typeof key === "string" ? text_floats(key) : null;
  if (!keys) return `the key of ${called} is zero, or no finite numbers`;
  const values = typeof value === "string" ? text_floats(value) : null;
  if (!values) return `the value of ${called} is zero, or no finite numbers`;
  if (made_by.matrix === "mlp_out" && keys.length !== d_mlp) return `the key of ${called} has ${keys.length} numbers, not ${d_mlp}`;
  if (values.length !== d_model) return `the value of ${called} has ${values.length} numbers, not ${d_model}`;
  const info = {
    edit_id: edit_id.slice(0, 64), name: name.slice(0, 120), recipe: made_by, d_in: keys.length, d_model,
    key_norm: length_of(keys), value_norm: length_of(values),
  };
  return { info, key: keys, value: values, made: null };
}

/** The recipe in text or in an object; null where there is none. */
export const read_edit_recipe = (value: unknown): RankOneRecipe | null => checked(rank_one_recipe, value);

/** Why the model of `info` cannot take an edit; null where it can. */
export function why_not_of({ info: { recipe, name }, key, value }: HeldEdit, info: ModelInfo): string | null {
  const d_in = recipe.matrix === "mlp_out" ? info.d_mlp : info.n_heads * info.d_head;
  if (recipe.layer >= info.n_layers) {
    return `The edit “${name}” is of layer ${recipe.layer}; ${info.model_name} has layers 0 to ${info.n_layers - 1}.`;
  }
  if (key.length === d_in && value.length === info.d_model) return null;
  const matrix = recipe.matrix === "mlp_out" ? "W_out" : "W_O";
  return `The edit “${name}” has a key of ${key.length} and a value of ${value.length} numbers; ${info.model_name}'s ${matrix} takes ${d_in} and ${info.d_model}.`;
}
