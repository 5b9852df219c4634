import { describe, expect, it } from "vitest";
import { HELLO } from "../../connection/fake_source";
import type { OpenedGraph } from "./graph_file";
import { why_flat } from "./opened_graph";

const INFO = { ...HELLO.model_info, weights_sha256: "ab" };
const opened = (weights_sha256: string, shape: OpenedGraph["shape"]): OpenedGraph => ({ weights_sha256, shape }) as OpenedGraph;

describe("a graph from a file is drawn in the picture", () => {
  it("of the same model, or of one with the same shape", () => {
    expect(why_flat(opened("ab", null), INFO)).toBeNull();
    expect(why_flat(opened("cd", { n_layers: 2, n_heads: 2, d_mlp: 3 }), INFO)).toBeNull();
  });
  it("else the reason is said", () => {
    expect(why_flat(opened("cd", { n_layers: 30, n_heads: 9, d_mlp: 1536 }), INFO))
      .toBe("It is of a model with 30 layers of 9 heads and 1536 neurons, this one has 2 layers of 2 heads and 3 neurons: it is shown flat only.");
    expect(why_flat(opened("cd", null), INFO)).toContain("does not say the shape");
    expect(why_flat(opened("ab", null), null)).toContain("No model");
  });
});
