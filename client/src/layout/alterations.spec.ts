import { describe, expect, it } from "vitest";
import type { InterventionSpec } from "../protocol/generated";
import { alteration_of, alterations } from "./alterations";

const HEAD = { kind: "head" as const, layer: 1, index: 2 };
const spec = (operation: InterventionSpec["operation"], amount = 0, changes: Partial<InterventionSpec> = {}): InterventionSpec =>
  ({ intervention_id: operation, operation, components: [HEAD], amount, enabled: true, ...changes });

describe("how a component is changed", () => {
  it("is told apart by kind; a factor of nothing is off", () => {
    expect(alteration_of(spec("scale", 0))).toBe("off");
    expect(alteration_of(spec("scale", -1))).toBe("scaled");
    expect((["mean", "resample", "set"] as const).map((operation) => alteration_of(spec(operation)))).toEqual(["replaced", "replaced", "replaced"]);
    expect((["attention_knockout", "attention_set", "attention_turn"] as const).map((one) => alteration_of(spec(one)))).toEqual(["attention", "attention", "attention"]);
  });

  it("a component has one mark, of what changes it most; what is disabled has none", () => {
    const marks = alterations([spec("scale", 2), spec("attention_turn"), spec("zero", 0, { enabled: false })]);
    expect(marks.components).toEqual([{ component: HEAD, how: "attention" }]);
    expect(alterations([spec("mean"), spec("zero")]).components[0]?.how).toBe("off");
  });

  it("the stream's places are marked too", () => {
    const stream = [{ layer: 4 }, { layer: 5 }];
    expect(alterations([spec("project_out", 0, { components: [], stream })]).places).toEqual(
      stream.map((place) => ({ place, how: "removed" })),
    );
  });
});
