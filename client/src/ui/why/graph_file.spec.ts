import { describe, expect, it } from "vitest";
import fc from "fast-check";
import type { ModelInfo } from "../../protocol/generated";
import type { ShownGraph } from "../../store/graph";
import type { TokenChip } from "../../store/types";
import { HELLO } from "../../connection/fake_source";
import { graph_text, GraphFileError, read_graph } from "./graph_file";
import { lay_graph } from "./graph_layout";

const INFO: ModelInfo = { ...HELLO.model_info, weights_sha256: "ab12" };
const GRAPH: ShownGraph = {
  metric: { pos: 2, target_id: 1, target_text: " x", distractor_id: null, distractor_text: null, value: 1.5, notice: null },
  nodes: [
    { node: "logit@2", relevance: 1.5, label: " x", pin: null },
    { node: "L1H0@2", relevance: -0.25, label: "L1H0", pin: { name: "mover", group: "names" } },
    { node: "embed@0", relevance: null, label: "embed@0", pin: null },
  ],
  edges: [
    { writer: "L1H0@2", reader: "logit@2", part: "input", weight: -0.25 },
    { writer: "embed@0", reader: "L1H0@2", part: "value", weight: 0.125 },
  ],
  n_hidden: 4, scale: 0.25, score_scale: 0,
};
const TOKENS: TokenChip[] = ["secret", " plan", " b", " x"].map((text, pos) => ({
  pos, token_id: pos + 7, text, generated: false, logprob: null, entropy: null,
}));
const saved = (with_text: boolean): string =>
  graph_text({ info: INFO, graph: GRAPH, tokens: TOKENS, threshold: 0.05, with_text });

describe("a graph's file", () => {
  it("is read back as it was saved", () => {
    const opened = read_graph(saved(false), "g.json");
    expect(opened.graph).toEqual(GRAPH);
    expect([opened.model_name, opened.weights_sha256]).toEqual(["tiny", "ab12"]);
    expect(opened.tokens).toEqual([{ pos: 0, token_id: 7, text: "secret" }]);
  });

  it("says the shape of its model, which the first files did not", () => {
    expect(read_graph(saved(false), "g.json").shape).toEqual({ n_layers: 2, n_heads: 2, d_mlp: 3 });
    const file = JSON.parse(saved(false)) as { model: Record<string, unknown> };
    delete file.model["n_layers"];
    expect(read_graph(JSON.stringify(file), "g.json").shape).toBeNull();
    file.model["n_layers"] = -1;
    expect(() => read_graph(JSON.stringify(file), "g.json")).toThrow("n_layers is no count");
  });

  it("has no text of the prompt but its own nodes', unless asked", () => {
    expect(saved(false)).not.toContain("plan");
    expect(JSON.parse(saved(true)).text).toBe("secret plan b x");
  });

  it("that is damaged is refused in one sentence", () => {
    const broken = { ...JSON.parse(saved(false)), edges: [{ writer: "L9H9@2", reader: "logit@2", part: "input", weight: 1 }] };
    for (const [text, why] of [
      ["{", "not JSON"], ["[]", "missing"], ['{"format":"x"}', "format"],
      [JSON.stringify(broken), "an edge has no node"],
      [saved(false).replace("L1H0@2", "<img>@2"), "a node has no such name"],
      [saved(false).replace("0.125", "null"), "weight is no number"],
    ] as const) {
      expect(() => read_graph(text, "g.json")).toThrow(GraphFileError);
      expect(() => read_graph(text, "g.json")).toThrow(new RegExp(`^This file cannot be opened as a graph: .*${why}.*\\.$`));
    }
  });

  it("never fails in another way, whatever is in it", () => {
    const file = JSON.parse(saved(false)) as Record<string, unknown>;
    fc.assert(fc.property(fc.constantFrom(...Object.keys(file)), fc.jsonValue(), (key, value) => {
      try {
        read_graph(JSON.stringify({ ...file, [key]: value }), "g.json");
      } catch (error) {
        expect(error).toBeInstanceOf(GraphFileError);
      }
    }));
  });
});

describe("the flat picture", () => {
  it("puts later layers higher, tokens side by side, and draws every edge", () => {
    const picture = lay_graph(GRAPH, (node) => node.label, String);
    const at = new Map(picture.nodes.map((node) => [node.shown.node, node]));
    expect(at.get("logit@2")!.y).toBeLessThan(at.get("L1H0@2")!.y);
    expect(at.get("L1H0@2")!.y).toBeLessThan(at.get("embed@0")!.y);
    expect(at.get("embed@0")!.x).toBeLessThan(at.get("L1H0@2")!.x);
    expect(picture.edges.map((edge) => edge.is_negative)).toEqual([false, true]);
    expect(Math.max(...picture.nodes.map((node) => node.x))).toBeLessThan(picture.width);
  });
});
