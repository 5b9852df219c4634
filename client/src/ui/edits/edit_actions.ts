// Keeping, putting in force, saving and opening rank-1 edits of a weight matrix.
import { or_refusal, Refusal, type Told } from "../../connection/requests";
import type { Component, InterventionSpec, RankOneRecipe } from "../../protocol/generated";
import type { RankOneEditAnswer } from "../../protocol/questions";
import { add_notice } from "../../store/store";
import { named_spec } from "../interventions/draft";
import type { Page } from "../page";
import { read_vectors, SafetensorsError, write_vectors, type Notes } from "../safetensors";
import { save_file } from "../why/picture_file";
import { read_edit_recipe } from "./edit_text";
import type { HeldEdit } from "./edits_state";
import { keep_edits } from "./kept_edits";

const MAX_HELD = 64;
const FORMAT = "livelens rank-1 edit";

/** Keep what the server made, newest first. */
export function keep_answer(page: Page, answer: RankOneEditAnswer): void {
  const { edit: info, key, value } = answer;
  hold(page, { info, key: Float32Array.from(key.values), value: Float32Array.from(value.values), made: answer });
}

/** Keep `held` here, newest first; equal edits are one. */
export function hold({ state, store }: Page, held: HeldEdit): void {
  const before = state.edits.held.peek();
  const same = before.find(({ info }) => info.edit_id === held.info.edit_id);
  state.edits.held.value = [{ ...held, made: held.made ?? same?.made ?? null }, ...before.filter((other) => other !== same)]
    .slice(0, MAX_HELD);
  keep_edits(state.edits.held.peek(), store.model_info.peek());
}

/** Forget an edit here; the server keeps it for interventions that use it. */
export function forget_edit({ state, store }: Page, edit_id: string): void {
  state.edits.held.value = state.edits.held.peek().filter(({ info }) => info.edit_id !== edit_id);
  keep_edits(state.edits.held.peek(), store.model_info.peek());
}

/** What the edited matrix belongs to. */
export function edited_component({ matrix, layer, head_index }: RankOneRecipe): Component {
  if (matrix === "mlp_out") return { kind: "mlp", layer, index: 0 };
  return typeof head_index === "number" ? { kind: "head", layer, index: head_index } : { kind: "attn", layer, index: 0 };
}

/** The listed intervention of an edit; the first where there are several. */
export const listed_spec = (specs: readonly InterventionSpec[], edit_id: string): InterventionSpec | undefined =>
  specs.find((spec) => spec.operation === "rank_one_edit" && spec.edit_id === edit_id);

/** Put an edit in force, or take it out of force; it stays in the list of interventions. `told` hears why not. */
export async function switch_edit(page: Page, held: HeldEdit, enabled: boolean, told: Told): Promise<void> {
  const { store, actions } = page;
  const { edit_id, recipe } = held.info;
  const listed = listed_spec(store.interventions.peek(), edit_id);
  const problem = enabled ? await put_held(page, held) : null;
  if (problem) {
    told(problem);
    return;
  }
  if (listed) {
    actions.set_enabled(listed.intervention_id, enabled, told);
    return;
  }
  const draft: InterventionSpec = {
    intervention_id: "edit", operation: "rank_one_edit", components: [edited_component(recipe)], amount: 1, enabled, edit_id,
  };
  const spec = named_spec(draft, store.interventions.peek());
  await actions.change((specs) => [...specs, spec], told);
}

/** Have the server hold `held` (it may have been started anew since); why not, where it does not. */
export async function put_held({ actions }: Page, { info, key, value }: HeldEdit): Promise<string | null> {
  const { name, recipe, edit_id } = info;
  const stored = await or_refusal(actions.put_rank_one_edit({ name, recipe, key: bytes_of(key), value: bytes_of(value) }));
  if (typeof stored === "string") return stored;
  return stored.edit_id === edit_id ? null : `The edit “${name}” does not hold the numbers that its id says: it was changed.`;
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
  const { store, actions, state } = page;
  const model = store.model_info.peek();
  state.edits.problem.value = null;
  try {
    if (!model) throw new SafetensorsError("There is no model yet: wait for the server.");
    if (file.size > 20_000_000) throw new SafetensorsError("This cannot be opened as an edit: it is too large.");
    const { vectors, notes } = read_vectors(new Uint8Array(await file.arrayBuffer()), "edit of a weight matrix", 2);
    const { key, value } = vectors;
    const recipe = read_edit_recipe(notes["recipe"]);
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
    state.edits.problem.value = error.message;
  }
}
