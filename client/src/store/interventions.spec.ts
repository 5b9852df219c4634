import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { InterventionSpec } from "../protocol/generated";
import { acts_at, fresh_id, merge_change, moved, spec_form, toggled, with_all_enabled, with_spec } from "./interventions";
import { InterventionSteps } from "./interventions_steps";

const on = (intervention_id: string, amount = 0): InterventionSpec => ({
  ...toggled([], { kind: "head", layer: 0, index: 0 })[0]!, intervention_id, amount,
});
const ids = (specs: readonly InterventionSpec[]): string[] => specs.map((spec) => spec.intervention_id);

describe("the set as a value", () => {
  it("an id is taken once, however long its base", () => {
    const long = "x".repeat(100);
    const first = fresh_id(long, []);
    expect(first.length).toBeLessThanOrEqual(64);
    const second = fresh_id(long, [on(first)]);
    expect(second).not.toBe(first);
    expect(second.length).toBeLessThanOrEqual(64);
  });

  it("the order of fields says nothing, a value does", () => {
    const spec = on("a", 2);
    const turned = Object.fromEntries(Object.entries(spec).reverse()) as unknown as InterventionSpec;
    expect(spec_form(turned)).toBe(spec_form(spec));
    expect(spec_form({ ...spec, amount: 3 })).not.toBe(spec_form(spec));
  });

  it("switched off and on as a whole, it is what it was", () => {
    const specs = [on("a"), { ...on("b"), enabled: false }];
    const off = with_all_enabled(specs, false, new Set());
    expect(off.map((spec) => spec.enabled)).toEqual([false, false]);
    expect(with_all_enabled(off, true, new Set(["a"]))).toEqual(specs);
    expect(with_all_enabled(off, true, new Set(["gone"])).map((spec) => spec.enabled)).toEqual([true, true]);
  });
});

describe("where a change acts", () => {
  it("a range and certain tokens are asked of the token; what holds from a position on, not from where", () => {
    const range = { scope: "range", from_pos: 5, to_pos: 9 } as const;
    expect([4, 5, 8, 9].map((pos) => acts_at(range, pos, 1))).toEqual([false, true, true, false]);
    expect(acts_at({ scope: "range", from_pos: 5 }, 900, 1)).toBe(true);
    expect([7, 9, undefined].map((id) => acts_at({ scope: "tokens", token_ids: [7, 8] }, 0, id))).toEqual([true, false, false]);
    expect([undefined, { scope: "from_now" } as const, { scope: "all" } as const].every((one) => acts_at(one, 0, 1))).toBe(true);
  });
});

describe("the order of a set", () => {
  it("is changed by a place at a time, and ends are ends", () => {
    const specs = [on("a"), on("b"), on("c")];
    expect(ids(moved(specs, "c", -1))).toEqual(["a", "c", "b"]);
    expect(ids(moved(specs, "a", -1))).toEqual(["a", "b", "c"]);
    expect(ids(moved(specs, "gone", 1))).toEqual(["a", "b", "c"]);
  });

  it("is undone among what others have added, and left alone where they have changed it too", () => {
    const before = [on("a"), on("b"), on("c")];
    const after = moved(before, "c", -2);
    expect(ids(merge_change([on("x"), ...after, on("y")], after, before).specs)).toEqual(["x", "a", "b", "c", "y"]);
    expect(ids(merge_change([on("b"), on("a"), on("c")], after, before).specs)).toEqual(["b", "a", "c"]);
    expect(ids(merge_change([on("c"), on("b")], after, before).specs)).toEqual(["b", "c"]);
  });
});

describe("a change laid upon what others did", () => {
  it("keeps their entries and what they changed of ours", () => {
    const [a, b] = [on("a"), on("b")];
    const theirs = on("theirs");
    expect(merge_change([a, theirs, b], [a, b], [a])).toEqual({ specs: [a, theirs], kept: [] });
    expect(merge_change([a, on("b", 2)], [a, b], [a])).toEqual({ specs: [a, on("b", 2)], kept: ["b"] });
    expect(merge_change([theirs], [a], [on("a", 2)])).toEqual({ specs: [theirs], kept: ["a"] });
    expect(ids(merge_change([theirs, b], [b], [a, b]).specs)).toEqual(["a", "theirs", "b"]);
  });
});

describe("steps", () => {
  it("are undone and redone, in order, and a new one ends the redoing", () => {
    const steps = new InterventionSteps();
    const [none, one, two]: InterventionSpec[][] = [[], [on("a")], [on("a"), on("b")]];
    steps.record(none!, one!);
    steps.record(one!, two!);
    expect(steps.undo(two!)?.specs).toEqual(one);
    expect(steps.undo(one!)?.specs).toEqual([]);
    expect(steps.can_undo.value).toBe(false);
    expect(steps.undo([])).toBeNull();
    expect(steps.redo([])?.specs).toEqual(one);
    steps.record(one!, []);
    expect(steps.can_redo.value).toBe(false);
  });

  it("a gesture is one step until it ends; what changes nothing is none", () => {
    const steps = new InterventionSteps();
    for (let amount = 1; amount <= 5; amount++) steps.record([on("a", amount - 1)], [on("a", amount)], "slide a");
    steps.end_gesture();
    steps.record([on("a", 5)], [on("a", 6)], "slide a");
    steps.record([on("a", 6)], [on("a", 6)]);
    expect(steps.undo([on("a", 6)])?.specs).toEqual([on("a", 5)]);
    expect(steps.undo([on("a", 5)])?.specs).toEqual([on("a", 0)]);
    expect(steps.can_undo.value).toBe(false);
  });

  it("one that the server refused never was", () => {
    const steps = new InterventionSteps();
    const refused = [on("a")];
    steps.record([], refused);
    steps.drop(refused);
    expect(steps.can_undo.value).toBe(false);
  });

  it("undoing everything and redoing everything ends where it began, with others at work in between", () => {
    const change = fc.record({ id: fc.constantFrom("a", "b", "c"), amount: fc.integer({ min: 0, max: 3 }), gone: fc.boolean() });
    fc.assert(fc.property(fc.array(change, { maxLength: 12 }), (made) => {
      const steps = new InterventionSteps();
      let specs: readonly InterventionSpec[] = [on("theirs")];
      for (const { id, amount, gone } of made) {
        const next = gone ? specs.filter((spec) => spec.intervention_id !== id) : with_spec(specs, on(id, amount));
        steps.record(specs, next);
        specs = next;
      }
      const end = [...specs, on("late")];
      let now: readonly InterventionSpec[] = end;
      for (let merge = steps.undo(now); merge; merge = steps.undo(now)) now = merge.specs;
      expect(ids(now).sort()).toEqual(["late", "theirs"]);
      for (let merge = steps.redo(now); merge; merge = steps.redo(now)) now = merge.specs;
      expect(now.map(spec_form).sort()).toEqual(end.map(spec_form).sort());
    }), { numRuns: 200 });
  });
});
