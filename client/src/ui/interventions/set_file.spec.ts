// @vitest-environment jsdom
import { beforeEach, describe, expect, it } from "vitest";
import { HELLO } from "../../connection/fake_source";
import { intervention, rank_one_recipe } from "../../protocol/event_checks";
import type { InterventionSpec } from "../../protocol/generated";
import { toggled } from "../../store/interventions";
import { read_written_edit, why_not_of, written_edit } from "../edits/edit_text";
import { read_written, written } from "./direction_text";
import type { HeldEdit } from "../edits/edits_state";
import { floats_text } from "../float_text";
import { read_saved_sets, with_set, write_saved_sets } from "./saved_sets";
import { check_set, model_of, read_set, set_text, SetFileError, type SavedSet } from "./set_file";

const info = HELLO.model_info;
const complete = (specs: InterventionSpec[]): InterventionSpec[] => specs.map((spec) => intervention(spec, "spec"));
const interventions = complete(toggled(toggled([], { kind: "head", layer: 1, index: 1 }), { kind: "neuron", layer: 0, index: 2 }));
const SET: SavedSet = { name: "two parts", model: model_of(info), interventions, directions: [], edits: [] };
const text_with = (changes: object): string => JSON.stringify({ ...(JSON.parse(set_text(SET)) as object), ...changes });

describe("a set as a file", () => {
  it("comes back as it was", () => {
    expect(read_set(set_text(SET))).toEqual(SET);
    expect(() => check_set(interventions, info, 4)).not.toThrow();
  });

  it.each([
    ["no JSON", "{", /not JSON/],
    ["another format", text_with({ format: "livelens-graph" }), /format is not/],
    ["a later version", text_with({ version: 2 }), /version is not 1/],
    ["no object", "[1, 2]", /the file is no object/],
    ["no list", text_with({ interventions: {} }), /no interventions/],
    ["a hole", text_with({ interventions: [null] }), /interventions\[0\] should be a map/],
    ["text for a number", text_with({ interventions: [{ ...interventions[0], amount: "1" }] }), /amount should be a number/],
    ["a negative layer", text_with({ interventions: [{ ...interventions[0], components: [{ kind: "head", layer: -1, index: 0 }] }] }), /layer should be a count/],
    ["a kind of its own", text_with({ interventions: [{ ...interventions[0], components: [{ kind: "__proto__", layer: 0, index: 0 }] }] }), /kind should be/],
    ["a model without layers", text_with({ model: { ...SET.model, n_layers: "30" } }), /model.n_layers/],
    ["no model", text_with({ model: null }), /the model is no object/],
  ])("%s is refused in one sentence", (_, text, message) => {
    expect(() => read_set(text)).toThrow(SetFileError);
    expect(() => read_set(text)).toThrow(message);
  });

  it.each([
    ["a part that the model lacks", { ...interventions[0]!, components: [{ kind: "head" as const, layer: 7, index: 0 }] }, /tiny has no L7H0: it has 2 layers/],
    ["an operation it cannot do", { ...interventions[0]!, operation: "turn" as InterventionSpec["operation"] }, /cannot do “turn”/],
  ])("%s is refused before it is used", (_, spec, message) => {
    expect(() => check_set([spec], info, 4)).toThrow(message);
  });

  it("too many, and one id twice, are refused", () => {
    expect(() => check_set(interventions, info, 1)).toThrow(/at most 1/);
    expect(() => check_set([interventions[0]!, interventions[0]!], info, 4)).toThrow(/twice/);
  });
});

describe("sets of this browser", () => {
  beforeEach(() => localStorage.clear());

  it("are there again, newest first, one of a name", () => {
    const other: SavedSet = { ...SET, name: "other" };
    expect(write_saved_sets(with_set(with_set(with_set([], SET), other), { ...SET, interventions: [] }))).toBeNull();
    expect(read_saved_sets().map((set) => [set.name, set.interventions.length])).toEqual([["two parts", 0], ["other", 2]]);
  });

  it("what cannot be read is left out", () => {
    const key = "livelens.intervention_sets";
    localStorage.setItem(key, JSON.stringify([{ name: 3 }, SET, null]));
    expect(read_saved_sets()).toEqual([SET]);
    localStorage.setItem(key, "{{");
    expect(read_saved_sets()).toEqual([]);
  });
});

describe("a set that steers", () => {
  const vector = new Float32Array([1, 0, -2, 0.5]);
  const held = {
    info: { direction_id: "d1", name: "joy", recipe: { kind: "put" as const }, d_model: 4, norm: 1, layer: 1 },
    vector, separation: null, accuracy: null,
  };

  it("brings the numbers of its directions along", () => {
    const read = read_set(set_text({ ...SET, directions: [written(held)] }));
    expect(read_written(read.directions[0], 4)?.vector).toEqual(vector);
    expect(read_written(read.directions[0], 5)).toBeNull();
  });

  it.each([
    ["too few numbers", { ...written(held), data: "AAAA" }],
    ["no base64", { ...written(held), data: "!!" }],
    ["no name", { ...written(held), name: 3 }],
    ["NaN", written({ ...held, vector: new Float32Array([NaN, 1, 1, 1]) })],
    ["zeros", written({ ...held, vector: new Float32Array(4) })],
    ["an unknown recipe", { ...written(held), recipe: { kind: "magic" } }],
  ])("%s in a direction are refused", (_, direction) => {
    expect(() => read_set(text_with({ directions: [direction] }))).toThrow(/direction in it is damaged/);
  });
});

describe("a set with an edit of a weight matrix", () => {
  const recipe = rank_one_recipe({ kind: "put", matrix: "mlp_out", layer: 1 }, "recipe");
  const held: HeldEdit = {
    info: { edit_id: "e1", name: "Rome", recipe, d_in: 3, d_model: 4, key_norm: 1.5, value_norm: Math.sqrt(6) },
    key: new Float32Array([1, 0.5, -1]), value: new Float32Array([1, 0, -2, 1]), made: null,
  };
  const edit = written_edit(held);

  it("brings its key, its value and what made it, bit for bit", () => {
    const read = read_set(set_text({ ...SET, edits: [edit] }));
    expect(read_written_edit(read.edits[0], info)).toEqual(held);
  });

  it("of a version that brought none is read too", () => {
    expect(read_set(text_with({ edits: undefined })).edits).toEqual([]);
  });

  it.each([
    ["NaN in the key", { ...edit, key: floats_text(new Float32Array([1, NaN, 1])) }, /key of the edit “Rome” is zero, or no finite/],
    ["a key of zeros", { ...edit, key: floats_text(new Float32Array(3)) }, /key of the edit “Rome” is zero/],
    ["infinity in the value", { ...edit, value: floats_text(new Float32Array([1, Infinity, 0, 0])) }, /value of the edit/],
    ["a key of another width", { ...edit, key: floats_text(new Float32Array([1, 2])) }, /key of the edit “Rome” has 2 numbers, not 3/],
    ["a value of another width", { ...edit, value: edit.key }, /value of the edit “Rome” has 3 numbers, not 4/],
    ["no base64", { ...edit, key: "!!" }, /no finite numbers/],
    ["no recipe", { ...edit, recipe: { kind: "magic" } }, /does not say what made it/],
    ["no name", { ...edit, name: 3 }, /no name/],
    ["no object", null, /no object/],
  ])("%s is refused in one sentence", (_, damaged, message) => {
    expect(() => read_set(text_with({ edits: [damaged] }))).toThrow(SetFileError);
    expect(() => read_set(text_with({ edits: [damaged] }))).toThrow(message);
  });

  it("with more edits than a file may have is neither read nor written", () => {
    const many = Array.from({ length: 33 }, () => edit);
    expect(() => read_set(text_with({ edits: many }))).toThrow(/more than 32 edits/);
    expect(() => set_text({ ...SET, edits: many })).toThrow(/at most 64 directions and 32 edits/);
  });

  it("of another model is refused with both widths", () => {
    expect(why_not_of(held, info)).toBeNull();
    expect(why_not_of(held, { ...info, d_mlp: 8 })).toMatch(/key of 3 and a value of 4 numbers; tiny's W_out takes 8 and 4/);
    expect(why_not_of(held, { ...info, n_layers: 1 })).toMatch(/is of layer 1; tiny has layers 0 to 0/);
  });
});
