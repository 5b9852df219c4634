// Keeping, putting in force, saving and opening rank-1 edits of a weight matrix.
import { Refusal } from "../../connection/connection";
import { DecodeError } from "../../protocol/errors";
import { rank_one_recipe } from "../../protocol/event_checks";
import type { Component, InterventionSpec, RankOneRecipe } from "../../protocol/generated";
import type { RankOneEditAnswer } from "../../protocol/questions";
import { add_notice } from "../../store/store";
import { named_spec } from "../interventions/draft";
import { read_vectors, SafetensorsError, write_vectors, type Notes } from "../interventions/safetensors";
import type { Page } from "../page";
import { save_file } from "../why/picture_file";
import type { HeldEdit } from "./edits_state";

const MAX_HELD = 64;
const FORMAT = "livelens rank-1 edit";

/** Keep what the server made, newest first. */
export function keep_answer(page: Page, answer: RankOneEditAnswer): void {
  const { edit: info, key, value } = answer;
  hold(page, { info, key: Float32Array.from(key.values), value: Float32Array.from(value.values), made: answer });
}

/** Keep `held` here, newest first; equal edits are one. */
export function hold({ state }: Page, held: HeldEdit): void {
  const before = state.edits.held.peek();
  const same = before.find(({ info }) => info.edit_id === held.info.edit_id);
  state.edits.held.value = [{ ...held, made: held.made ?? same?.made ?? null }, ...before.filter((other) => other !== same)]
    .slice(0, MAX_HELD);
}

/** Forget an edit here; the server keeps it for interventions that use it. */
export function forget_edit({ state }: Page, edit_id: string): void {
  state.edits.held.value = state.edits.held.peek().filter(({ info }) => info.edit_id !== edit_id);
}

/** What the edited matrix belongs to. */
export function edited_component({ matrix, layer, head_index }: RankOneRecipe): Component {
  if (matrix === "mlp_out") return { kind: "mlp", layer, index: 0 };
  return typeof head_index === "number" ? { kind: "head", layer, index: head_index } : { kind: "attn", layer, index: 0 };
}

/** The listed intervention of an edit; the first where there are several. */
export const listed_spec = (specs: readonly InterventionSpec[], edit_id: string): InterventionSpec | undefined =>
  specs.find((spec) => spec.operation === "rank_one_edit" && spec.edit_id === edit_id);

/** Put an edit in force, or take it out of force; it stays in the list of interventions. */
export async function switch_edit(page: Page, held: HeldEdit, enabled: boolean): Promise<void> {
  const { store, actions } = page;
  const { edit_id, recipe } = held.info;
  const listed = listed_spec(store.interventions.peek(), edit_id);
  if (enabled && !(await put_held(page, held))) return;
  if (listed) {
    actions.set_enabled(listed.intervention_id, enabled);
    return;
  }
  const draft: InterventionSpec = {
    intervention_id: "edit", operation: "rank_one_edit", components: [edited_component(recipe)], amount: 1, enabled, edit_id,
  };
  const spec = named_spec(draft, store.interventions.peek());
  void actions.change((specs) => [...specs, spec]);
}

/** Have the server hold `held` (it may have been started anew since); false where it refuses, which is told. */
async function put_held({ store, actions }: Page, { info, key, value }: HeldEdit): Promise<boolean> {
  try {
    await actions.put_rank_one_edit({ name: info.name, recipe: info.recipe, key: bytes_of(key), value: bytes_of(value) });
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    add_notice(store, "fault", error.message);
    return false;
  }
}

const bytes_of = (numbers: Float32Array): Uint8Array => new Uint8Array(numbers.slice().buffer);

export function save_edit(page: Page, { info, key, value }: HeldEdit): void {
  const model = page.store.model_info.peek();
  const notes: Notes = {
    format: `${FORMAT} 1`, name: info.name, recipe: JSON.stringify(info.recipe),
    model_name: model?.model_name ?? "", weights_sha256: model?.weights_sha256 ?? "",
  };
  const file_name = info.name.replaceAll(/[^\p{L}\p{N} ._-]/gu, "_").slice(0, 60) || "edit";
  save_file(new Blob([write_vectors({ key, value }, notes)]), `${file_name}.safetensors`, "application/octet-stream");
}

/** Read an edit from `file`, give it to the server, and keep it; says in one sentence why not. */
export async function open_edit(page: Page, file: File): Promise<void> {
  const { store, actions } = page;
  const model = store.model_info.peek();
  try {
    if (!model) throw new SafetensorsError("There is no model yet: wait for the server.");
    if (file.size > 20_000_000) throw new SafetensorsError("This cannot be opened as an edit: it is too large.");
    const { vectors, notes } = read_vectors(new Uint8Array(await file.arrayBuffer()), "edit of a weight matrix", 2);
    const { key, value } = vectors;
    const recipe = read_recipe(notes["recipe"]);
    if (!key || !value || !recipe) {
      throw new SafetensorsError("This cannot be opened as an edit: it does not hold a key, a value and what made them.");
    }
    if (notes["weights_sha256"] && notes["weights_sha256"] !== model.weights_sha256) {
      add_notice(store, "info", `${file.name} was made with other weights than the running model's.`);
    }
    const name = (notes["name"] ?? file.name.replace(/\.safetensors$/i, "")).slice(0, 120) || "edit";
    const info = await actions.put_rank_one_edit({ name, recipe, key: bytes_of(key), value: bytes_of(value) });
    hold(page, { info, key, value, made: null });
  } catch (error) {
    if (!(error instanceof SafetensorsError || error instanceof Refusal)) throw error;
    add_notice(store, "fault", error.message);
  }
}

function read_recipe(text: string | undefined): RankOneRecipe | null {
  try {
    return text === undefined ? null : rank_one_recipe(JSON.parse(text), "recipe");
  } catch (error) {
    if (error instanceof DecodeError || error instanceof SyntaxError) return null;
    throw error;
  }
}
