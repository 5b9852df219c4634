// Bringing a set onto the page: from this browser, a file, the clipboard, or dropped on the panel.
import { fresh_id } from "../../store/interventions";
import type { InterventionSpec, ModelInfo } from "../../protocol/generated";
import { add_notice } from "../../store/store";
import { hold as hold_edit, put_held as put_held_edit } from "../edits/edit_actions";
import { read_written_edit, why_not_of } from "../edits/edit_text";
import { take_dropped_json } from "../json_file";
import { announce_taken, type Page } from "../page";
import { hold, put_held } from "./direction_actions";
import { read_written } from "./direction_text";
import { check_set, read_set, SetFileError, type SavedSet } from "./set_file";

/** Use `set` in place of what is listed, or add it; says in one sentence why not. */
export async function use_set(page: Page, set: SavedSet, how: "replace" | "add"): Promise<void> {
  const { store, actions, state } = page;
  const info = store.model_info.peek();
  if (!info) {
    say_problem(page, "There is no model yet: wait for the server.");
    return;
  }
  state.interventions.set_problem.value = null;
  const listed = how === "add" ? store.interventions.peek() : [];
  const next = joined(listed, set.interventions);
  try {
    check_set(next, info, store.limits.peek()?.max_interventions ?? Infinity);
  } catch (error) {
    if (!(error instanceof SetFileError)) throw error;
    say_problem(page, error.message);
    return;
  }
  if (info.weights_sha256 !== set.model.weights_sha256) {
    add_notice(store, "info", `“${set.name}” was made with ${set.model.model_name}: other weights than the running model's.`);
  }
  const problem = (await put_directions(page, set, info)) ?? (await put_edits(page, set, info));
  if (problem) {
    say_problem(page, problem);
    return;
  }
  state.interventions.set_name.value = set.name;
  const answer = actions.change(() => next, (why) => say_problem(page, why));
  await announce_taken(state, answer, () => `${set.name}: ${set.interventions.length} interventions`);
}

/** Why a set could not be opened, kept or sent, beside the buttons that do so. */
export function say_problem({ state }: Page, problem: string): void {
  state.interventions.sets_open.value = true;
  state.interventions.set_problem.value = problem;
}

/** Give the server the set's directions; why not, where it does not take one. */
async function put_directions(page: Page, set: SavedSet, info: ModelInfo): Promise<string | null> {
  for (const entry of set.directions) {
    const held = read_written(entry, info.d_model);
    if (!held) return `The direction “${entry.name}” is of a stream of another width.`;
    const problem = await put_held(page, held);
    if (problem) return problem;
    hold(page, held);
  }
  return null;
}

/** The same of its rank-1 edits. */
async function put_edits(page: Page, set: SavedSet, info: ModelInfo): Promise<string | null> {
  for (const entry of set.edits) {
    const held = read_written_edit(entry, set.model);
    if (typeof held === "string") return `This set cannot be used: ${held}.`;
    const problem = why_not_of(held, info) ?? (await put_held_edit(page, held));
    if (problem) return problem;
    hold_edit(page, held);
  }
  return null;
}

/** `added` behind `listed`; an id that is taken is changed. */
function joined(listed: readonly InterventionSpec[], added: readonly InterventionSpec[]): InterventionSpec[] {
  const specs = [...listed];
  const own = new Set<string>();
  for (const spec of added) {
    const is_twice = own.has(spec.intervention_id); // within one set: refused later, not mended
    own.add(spec.intervention_id);
    specs.push(is_twice ? spec : { ...spec, intervention_id: fresh_id(spec.intervention_id, specs) });
  }
  return specs;
}

export function open_set_text(page: Page, text: string): void {
  try {
    void use_set(page, read_set(text), "replace");
  } catch (error) {
    if (!(error instanceof SetFileError)) throw error;
    say_problem(page, error.message);
  }
}

export async function open_set_file(page: Page, file: File): Promise<void> {
  let text: string;
  try {
    text = await file.text();
  } catch {
    say_problem(page, `${file.name} could not be read.`);
    return;
  }
  open_set_text(page, text);
}

/** A set dropped on the panel. */
export function take_dropped_set(event: DragEvent, page: Page): void {
  const file = take_dropped_json(event);
  if (file) void open_set_file(page, file);
}
