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

  it("a component has one mark, of what is left of all in their order; what is disabled has none", () => {
    const left = (...specs: InterventionSpec[]) => alterations(specs).components;
    expect(left(spec("scale", 2), spec("attention_turn"), spec("zero", 0, { enabled: false }))).toEqual([{ component: HEAD, how: "attention" }]);
    expect(left(spec("mean"), spec("zero"))[0]?.how).toBe("off");
    expect(left(spec("zero"), spec("mean"))[0]?.how).toBe("replaced"); // it writes its mean, not nothing
    expect(left(spec("zero"), spec("scale", 2))[0]?.how).toBe("off");
    expect(left(spec("zero"), spec("attention_turn"))[0]?.how).toBe("off");
  });

  it("the stream's places are marked too", () => {
    const stream = [{ layer: 4 }, { layer: 5 }];
    expect(alterations([spec("project_out", 0, { components: [], stream })]).places).toEqual(
      stream.map((place) => ({ place, how: "removed" })),
    );
  });
});
