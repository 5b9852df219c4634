// Making, keeping, saving and opening directions of the residual stream.
import { or_refusal, Refusal, type Told } from "../../connection/requests";
import type { Component, DirectionRecipe, InterventionSpec, ModelInfo, StreamPlace } from "../../protocol/generated";
import type { DirectionAnswer } from "../../protocol/questions";
import { add_notice } from "../../store/store";
import type { Page } from "../page";
import { read_safetensors, SafetensorsError, write_safetensors, type Notes } from "../safetensors";
import { save_file } from "../why/picture_file";
import { named_spec } from "./draft";
import { read_recipe } from "./direction_text";
import { keep_directions } from "./kept_directions";
import type { HeldDirection } from "./held_direction";

const MAX_HELD = 64;

/** Keep what the server made of a recipe, newest first; equal vectors are one. */
export function keep_answer(page: Page, answer: DirectionAnswer): void {
  const { direction: info, vector, separation, accuracy } = answer;
  hold(page, {
    info, vector: Float32Array.from(vector.values),
    separation: separation && Float32Array.from(separation.values), accuracy: accuracy && Float32Array.from(accuracy.values),
  });
}

/** Keep `held` here, newest first; equal vectors are one. */
export function hold({ state, store }: Page, held: HeldDirection): void {
  const { directions } = state.interventions;
  const before = directions.peek().find(({ info }) => info.direction_id === held.info.direction_id);
  const others = directions.peek().filter((other) => other !== before);
  const separation = held.separation ?? before?.separation ?? null;
  directions.value = [{ ...held, separation, accuracy: held.accuracy ?? before?.accuracy ?? null }, ...others].slice(0, MAX_HELD);
  keep_directions(directions.peek(), store.model_info.peek());
}

/** Have the server hold `held` (it may have been started anew since); why not, where it does not. */
export async function put_held({ actions }: Page, { info, vector }: HeldDirection): Promise<string | null> {
  const { name, recipe, layer } = info;
  const stored = await or_refusal(actions.put_direction({ name, recipe, layer, data: new Uint8Array(vector.slice().buffer) }));
  return typeof stored === "string" ? stored : null;
}

/** Put a whole layer's attention or MLP to `held`: what it writes is the direction, times the amount; `told` hears why not. */
export async function put_layer_to(page: Page, held: HeldDirection, layer: Component, told: Told): Promise<void> {
  const draft: InterventionSpec = {
    intervention_id: "layer", operation: "set", components: [layer], amount: 1, enabled: true,
    direction_id: held.info.direction_id,
  };
  await list_opened(page, held, draft, told);
}

/** Add `draft`, which is about `held`, to the set under a name of its own, with its fields open. */
async function list_opened(page: Page, held: HeldDirection, draft: InterventionSpec, told: Told): Promise<void> {
  const { store, actions, state } = page;
  const problem = await put_held(page, held);
  if (problem) {
    told(problem);
    return;
  }
  const spec = named_spec(draft, store.interventions.peek());
  const answer = actions.change((specs) => [...specs, spec], told);
  state.interventions.opened.value = spec.intervention_id;
  await answer;
}

/** Forget a direction here; the server keeps it for interventions that use it. */
export function forget_direction({ state, store }: Page, direction_id: string): void {
  const { directions } = state.interventions;
  directions.value = directions.peek().filter(({ info }) => info.direction_id !== direction_id);
  keep_directions(directions.peek(), store.model_info.peek());
}

export function save_direction(page: Page, { info, vector }: HeldDirection): void {
  const model = page.store.model_info.peek();
  const notes: Notes = {
    format: "livelens direction 1", name: info.name, recipe: JSON.stringify(info.recipe),
    layer: info.layer === null ? "" : String(info.layer),
    model_name: model?.model_name ?? "", weights_sha256: model?.weights_sha256 ?? "",
  };
  const file_name = info.name.replaceAll(/[^\p{L}\p{N} ._-]/gu, "_").slice(0, 60) || "direction";
  save_file(new Blob([write_safetensors(vector, notes)]), `${file_name}.safetensors`, "application/octet-stream");
}

/** Read a direction from `file`, give it to the server, and keep it; says in one sentence why not. */
export async function open_direction(page: Page, file: File): Promise<void> {
  const { store, actions, state } = page;
  const model = store.model_info.peek();
  state.interventions.direction_problem.value = null;
  try {
    if (!model) throw new SafetensorsError("There is no model yet: wait for the server.");
    if (file.size > 20_000_000) throw new SafetensorsError("This cannot be opened as a direction: it is too large.");
    const { vector, notes } = read_safetensors(new Uint8Array(await file.arrayBuffer()));
    if (vector.length !== model.d_model) {
      throw new SafetensorsError(`${file.name} has ${vector.length} numbers; ${model.model_name}'s stream has ${model.d_model}.`);
    }
    if (notes["weights_sha256"] && notes["weights_sha256"] !== model.weights_sha256) {
      add_notice(store, "info", `${file.name} was made with other weights than the running model's.`);
    }
    const info = await actions.put_direction({
      name: (notes["name"] ?? file.name.replace(/\.safetensors$/i, "")).slice(0, 120) || "direction",
      data: new Uint8Array(vector.slice().buffer), layer: read_layer(notes["layer"], model),
      recipe: read_recipe(notes["recipe"]) ?? { kind: "put" },
    });
    hold(page, { info, vector, separation: null, accuracy: null });
  } catch (error) {
    if (!(error instanceof SafetensorsError || error instanceof Refusal)) throw error;
    state.interventions.direction_problem.value = error.message;
  }
}

function read_layer(text: string | undefined, model: ModelInfo): number | null {
  const layer = text !== undefined && /^\d{1,4}$/.test(text) ? Number(text) : NaN;
  return layer < model.n_layers ? layer : null;
}

/** Words for what made a direction. */
export function recipe_words({ kind, layer, index, pos, token, positive, negative }: DirectionRecipe): string {
  switch (kind) {
    case "contrast":
      return `${positive?.length ?? 0} prompts against ${negative?.length ?? 0}`;
    case "neuron":
      return `what L${layer}N${index} writes`;
    case "head":
      return typeof pos === "number" ? `what L${layer}H${index} wrote at ${pos}` : `what L${layer}H${index} wrote on average`;
    case "unembed":
      return `token ${typeof token === "string" ? `“${token}”` : `#${token}`}`;
    case "pca":
      return `axis ${(index ?? 0) + 1} of the stream after L${layer}`;
    default:
      return "opened from a file";
  }
}

export type StreamOperation = "add_direction" | "project_out";

/** Steer with a direction, or take it out, at the places `stream`; `told` hears why not. */
export async function use_direction(
  page: Page, held: HeldDirection, operation: StreamOperation, stream: StreamPlace[], told: Told,
): Promise<void> {
  // Contrasts and heads come at the size at which the model has them; a row of a matrix has a size of its own.
  const is_sized = held.info.recipe.kind === "contrast" || held.info.recipe.kind === "head";
  const is_adding = operation === "add_direction";
  const draft: InterventionSpec = {
    intervention_id: "direction", operation, components: [], enabled: true, direction_id: held.info.direction_id, stream,
    amount: is_adding ? (is_sized ? 1 : 0.3) : 0, unit: is_adding && !is_sized ? "stream" : "direction",
  };
  await list_opened(page, held, draft, told);
}
