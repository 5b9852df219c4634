// A named set of interventions as JSON: to keep, to send to somebody, to open again. What is opened may come from
// anybody: it is read field by field and held against the running model before anything of it is used.
import { component_id } from "../../layout/component_id";
import { intervention } from "../../protocol/event_checks";
import { DecodeError } from "../../protocol/errors";
import type { Component, InterventionSpec, ModelInfo } from "../../protocol/generated";
import { has_component } from "../../store/query";
import { read_written_edit, written_edit, type WrittenEdit } from "../edits/edit_text";
import { read_json_file } from "../json_file";
import { read_written, written, type WrittenDirection } from "./direction_text";

const FORMAT = "livelens-interventions";
const VERSION = 1;
const MAX_FILE_CHARS = 6_000_000;
const MAX_NAME = 80;
const MAX_DIRECTIONS = 64;
const MAX_EDITS = 32;

/** The model that a set was made with, as far as a set cares. */
export type SetModel = Pick<ModelInfo, "model_name" | "weights_sha256" | "n_layers" | "n_heads" | "d_mlp" | "d_model">;

export interface SavedSet {
  name: string;
  model: SetModel;
  interventions: InterventionSpec[];
  /** The directions that the interventions name, as far as the page that kept the set had them. */
  directions: WrittenDirection[];
  /** The rank-1 edits of weight matrices that they name, likewise. */
  edits: WrittenEdit[];
}

/** One sentence for the person: why a file is no set for this model. */
export class SetFileError extends Error {
  override readonly name = "SetFileError";
}

export function model_of(info: ModelInfo): SetModel {
  const { model_name, weights_sha256, n_layers, n_heads, d_mlp, d_model } = info;
  return { model_name, weights_sha256, n_layers, n_heads, d_mlp, d_model };
}

/** Raises SetFileError where the set is so large that it could not be opened again. */
export function set_text(set: SavedSet): string {
  if (set.directions.length > MAX_DIRECTIONS || set.edits.length > MAX_EDITS) {
    throw new SetFileError(`A set brings at most ${MAX_DIRECTIONS} directions and ${MAX_EDITS} edits: take some out.`);
  }
  const text = JSON.stringify({ format: FORMAT, version: VERSION, ...set }, null, 1);
  if (text.length > MAX_FILE_CHARS) throw new SetFileError("This set is too large for a file: take some of its edits out.");
  return text;
}

/** The set in a file's `text`; raises SetFileError on anything that is none. The model is not asked yet. */
export function read_set(text: string): SavedSet {
  return read_saved_set(read_json_file(text, { format: FORMAT, version: VERSION, max_chars: MAX_FILE_CHARS }, damaged));
}

/** The same of what was parsed already: a set of this browser's storage. */
export function read_saved_set(value: unknown): SavedSet {
  const file = fields(value, "the set");
  const { name, interventions } = file;
  if (typeof name !== "string") throw damaged("it has no name");
  if (!Array.isArray(interventions)) throw damaged("it has no interventions");
  const model = read_model(file["model"]);
  const directions = entries(file["directions"], MAX_DIRECTIONS, "directions");
  const edits = entries(file["edits"], MAX_EDITS, "edits");
  return {
    name: name.slice(0, MAX_NAME), model, interventions: interventions.map(read_spec),
    directions: directions.map((entry) => {
      const held = read_written(entry, model.d_model);
      if (!held) throw damaged("a direction in it is damaged");
      return written(held);
    }),
    edits: edits.map((entry) => {
      const held = read_written_edit(entry, model);
      if (typeof held === "string") throw damaged(held);
      return written_edit(held);
    }),
  };
}

/** Raises SetFileError, naming the first thing that the model of `info` does not have. */
export function check_set(specs: readonly InterventionSpec[], info: ModelInfo, max_interventions: number): void {
  if (specs.length > max_interventions) {
    throw new SetFileError(`This set has ${specs.length} interventions; at most ${max_interventions} can be used.`);
  }
  const ids = new Set<string>();
  for (const spec of specs) {
    if (ids.has(spec.intervention_id)) throw damaged(`the id ${spec.intervention_id} stands there twice`);
    ids.add(spec.intervention_id);
    if (!info.capabilities.operations.includes(spec.operation)) {
      throw new SetFileError(`${info.model_name} cannot do “${spec.operation}”, which this set asks for.`);
    }
    for (const component of spec.components) check_component(component, info);
  }
}

/** Whether `component` is one of the model's, of a kind that its engine can change. */
export function can_change(component: Component, info: ModelInfo): boolean {
  return has_component(info, component) && info.capabilities.component_kinds.includes(component.kind);
}

function check_component(component: Component, info: ModelInfo): void {
  if (can_change(component, info)) return;
  const shape = `${info.n_layers} layers of ${info.n_heads} heads and ${info.d_mlp} neurons`;
  throw new SetFileError(`${info.model_name} has no ${component_id(component)}: it has ${shape}. This set is of another model.`);
}

function damaged(what: string): SetFileError {
  return new SetFileError(`This cannot be opened as a set of interventions: ${what}.`);
}

/** Vectors that a file may leave out: sets of earlier versions bring none. */
function entries(value: unknown, most: number, what: string): unknown[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  if (list.length > most) throw damaged(`it has more than ${most} ${what}`);
  return list;
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${what} is no object`);
  return value as Record<string, unknown>;
}

function read_model(value: unknown): SetModel {
  const model = fields(value, "the model");
  const count = (name: keyof SetModel): number => {
    const held = model[name];
    if (typeof held !== "number" || !Number.isInteger(held) || held < 0) throw damaged(`model.${name} is no count`);
    return held;
  };
  const text = (name: keyof SetModel): string => {
    const held = model[name];
    if (typeof held !== "string" || held.length > 300) throw damaged(`model.${name} is no text`);
    return held;
  };
  return {
    model_name: text("model_name"), weights_sha256: text("weights_sha256"), n_layers: count("n_layers"),
    n_heads: count("n_heads"), d_mlp: count("d_mlp"), d_model: count("d_model"),
  };
}

function read_spec(value: unknown, i: number): InterventionSpec {
  try {
    return intervention(value, `interventions[${i}]`);
  } catch (error) {
    if (error instanceof DecodeError) throw damaged(error.message);
    throw error;
  }
}
