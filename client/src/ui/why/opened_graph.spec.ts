import { describe, expect, it } from "vitest";
import { HELLO } from "../../connection/fake_source";
import type { OpenedGraph } from "./graph_file";
import { why_flat } from "./opened_graph";

const INFO = { ...HELLO.model_info, weights_sha256: "ab" };
const METRIC = {
  pos: 3, target_id: 1, target_text: "x", distractor_id: null, distractor_text: null, value: 1, notice: null,
};
function opened(weights_sha256: string, shape: OpenedGraph["shape"], names: string[] = []): OpenedGraph {
  const nodes = names.map((node) => ({ node, relevance: null, label: node, pin: null }));
  const graph = { metric: METRIC, nodes, edges: [], n_hidden: 0, scale: 1, score_scale: 1 };
  return { file_name: "g.json", model_name: "m", weights_sha256, shape, graph, tokens: [] };
}

describe("a graph from a file is drawn in the picture", () => {
  it("of the same model, or of one with the same shape", () => {
    expect(why_flat(opened("ab", null), INFO)).toBeNull();
    expect(why_flat(opened("cd", { n_layers: 2, n_heads: 2, d_mlp: 3 }), INFO)).toBeNull();
  });
  it("unless it names a token that the model has no room for", () => {
    expect(why_flat(opened("ab", null, ["L0H1@63"]), INFO)).toBeNull();
    expect(why_flat(opened("ab", null, ["L0H1@2", "embed@999999999"]), INFO)).toContain("no room");
  });
  it("else the reason is said", () => {
    expect(why_flat(opened("cd", { n_layers: 30, n_heads: 9, d_mlp: 1536 }), INFO))
      .toBe("It is of a model with 30 layers of 9 heads and 1536 neurons, this one has 2 layers of 2 heads and 3 neurons: it is shown flat only.");
    expect(why_flat(opened("cd", null), INFO)).toContain("does not say the shape");
    expect(why_flat(opened("ab", null), null)).toContain("No model");
  });
});
