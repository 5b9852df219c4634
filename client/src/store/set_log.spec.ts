import { describe, expect, it } from "vitest";
import type { AppliedInterventions, InterventionSpec } from "../protocol/generated";
import { logged_sets, who_words } from "./set_log";

const head = (index: number, amount = 0): InterventionSpec => ({
  intervention_id: `L1H${index}`, operation: "scale", components: [{ kind: "head", layer: 1, index }], amount, enabled: true,
});
const entry = (revision: number, from_pos: number, author: string, ...interventions: InterventionSpec[]): AppliedInterventions =>
  ({ revision, from_pos, mode: "from_now", interventions, author });
const ids = (specs: readonly InterventionSpec[]): string[] => specs.map((spec) => spec.intervention_id);

describe("the sets a run has had", () => {
  it("say what each author added, changed and took away, newest first", () => {
    const log = [entry(0, 0, "me"), entry(1, 4, "me", head(1)), entry(2, 6, "other", head(1, 2), head(2)), entry(3, 9, "me", head(2))];
    const said = logged_sets(log).map(({ author, from_pos, added, removed, changed }) =>
      [author, from_pos, ids(added), ids(removed), ids(changed)]);
    expect(said).toEqual([
      ["me", 9, [], ["L1H1"], []],
      ["other", 6, ["L1H2"], [], ["L1H1"]],
      ["me", 4, ["L1H1"], [], []],
    ]);
  });

  it("take a slider's moves before the next token as one, and two viewers' changes as two", () => {
    const log = [1, 2, 3].map((amount) => entry(amount, 4, "me", head(1, amount)));
    expect(logged_sets([entry(0, 0, "me"), ...log]).map(({ revision, added }) => [revision, ids(added)])).toEqual([[3, ["L1H1"]]]);
    expect(logged_sets([...log, entry(4, 4, "other", head(2))]).map(({ author }) => author)).toEqual(["other", "me"]);
  });

  it("begin with the set that the run was started with, where it is not empty", () => {
    expect(logged_sets([entry(0, 0, "me")])).toEqual([]);
    expect(logged_sets([entry(0, 0, "me", head(1))])[0]).toMatchObject({ n_listed: 1, n_on: 1, from_pos: 0 });
  });
});

it("a viewer is you before and after it connected again, or has the name that all see", () => {
  expect(who_words("aaaa1111", ["aaaa1111", "bbbb2222"])).toBe("you");
  expect(who_words("cccc3333", ["aaaa1111"])).toBe("viewer cccc");
  expect(who_words("", ["aaaa1111"])).toBe("somebody");
});
