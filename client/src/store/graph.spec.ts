import { describe, expect, it } from "vitest";
import fc from "fast-check";
import type { Edge, Metric } from "../protocol/generated";
import type { AttributionAnswer } from "../protocol/questions";
import { edge_share, shown_graph } from "./graph";
import { Walk } from "./walk";

const METRIC: Metric = {
  pos: 3, target_id: 1, target_text: " a", distractor_id: 2, distractor_text: " b", value: 2, notice: null,
};
const edge = (writer: string, reader: string, weight: number, part: Edge["part"] = "input"): Edge => ({
  writer, reader, part, weight,
});

function answer(node: string, edges: Edge[]): AttributionAnswer {
  const part = { part: "input" as const, value: 1, edges, rest: 0, n_rest: 0, bias: 0, error: 0, key_pos: null, neurons: [] };
  return {
    type: "attribution_ready", request_id: 1, run_id: "r", metric: METRIC, node, direction: "incoming", relevance: 2,
    parts: [part],
  };
}

const KNOWN = {
  metric: METRIC, paths: null,
  attributions: [answer("logit@3", [
    edge("L1H0@3", "logit@3", 2), edge("L0H1@3", "logit@3", -0.5), edge("embed@3", "logit@3", 0.1),
    edge("L0H0@3", "L1H0@3", 9, "query"),
  ])],
};
const ALL = { threshold: 0, with_scores: true };
const writers = (edges: readonly Edge[]): string[] => edges.map((one) => one.writer);

describe("the shown graph", () => {
  it("hides what is weaker than the threshold, by size and not by sign", () => {
    const graph = shown_graph(KNOWN, { threshold: 0.2, with_scores: false }, new Set(), new Map());
    expect(writers(graph.edges)).toEqual(["L1H0@3", "L0H1@3"]);
    expect(graph.n_hidden).toBe(2);
    expect(graph.nodes.map((node) => node.node).sort()).toEqual(["L0H1@3", "L1H0@3", "logit@3"]);
  });

  it("keeps edges between nodes walked through or pinned, however weak", () => {
    const kept = new Set(["embed@3", "logit@3"]);
    const graph = shown_graph(KNOWN, { threshold: 0.9, with_scores: false }, kept, new Map([["embed@3", { name: "x", group: "g" }]]));
    expect(writers(graph.edges)).toEqual(["L1H0@3", "embed@3"]);
    expect(graph.nodes.find((node) => node.node === "embed@3")?.pin).toEqual({ name: "x", group: "g" });
  });

  it("measures parts of a score among themselves", () => {
    const graph = shown_graph(KNOWN, ALL, new Set(), new Map());
    expect(graph.scale).toBe(2);
    expect(graph.score_scale).toBe(9);
    expect(edge_share(graph.edges.find((one) => one.part === "query")!, graph)).toBe(1);
    expect(edge_share(graph.edges.find((one) => one.writer === "L0H1@3")!, graph)).toBe(0.25);
  });

  it("has an edge once, though both its ends told of it, and every edge's ends among its nodes", () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(4), fc.nat(4), fc.double({ min: -5, max: 5, noNaN: true }))),
      fc.double({ min: 0, max: 1, noNaN: true }), (drawn, threshold) => {
        const edges = drawn.map(([w, r, weight]) => edge(`L0H${w}@3`, `L1H${r}@3`, weight));
        const known = { ...KNOWN, attributions: [answer("logit@3", edges), answer("L1H0@3", edges)] };
        const graph = shown_graph(known, { threshold, with_scores: false }, new Set(), new Map());
        const keys = graph.edges.map((one) => `${one.writer} ${one.reader}`);
        expect(new Set(keys).size).toBe(keys.length);
        const names = new Set(graph.nodes.map((node) => node.node));
        expect(graph.edges.every((one) => names.has(one.writer) && names.has(one.reader))).toBe(true);
        expect(graph.edges.every((one) => Math.abs(one.weight) >= threshold * graph.scale)).toBe(true);
      }));
  });
});

describe("the walk", () => {
  it("goes on, back and forward; a new way forgets what lay ahead", () => {
    const walk = new Walk(() => null);
    walk.begin("logit@3");
    walk.go("L1H0@3");
    walk.go("embed@1");
    walk.back();
    expect(walk.node.value).toBe("L1H0@3");
    walk.forward();
    expect(walk.node.value).toBe("embed@1");
    walk.go_to(0);
    walk.go("L0.mlp@3");
    expect(walk.trail.value.nodes).toEqual(["logit@3", "L0.mlp@3"]);
    walk.back();
    walk.back();
    expect(walk.node.value).toBe("logit@3");
  });

  it("goes back to a node gone through before, and does not lose the way to it", () => {
    const walk = new Walk(() => null);
    walk.begin("logit@3");
    walk.go("L1H0@3");
    walk.go("logit@3");
    expect(walk.trail.value).toEqual({ nodes: ["logit@3", "L1H0@3"], at: 0 });
  });

  it("starts anew with another question, pins and all", () => {
    const walk = new Walk(() => null);
    walk.begin("logit@3");
    walk.pin("logit@3", { name: "", group: "" });
    walk.begin("logit@2");
    expect([walk.node.value, walk.pins.value.size]).toEqual(["logit@2", 0]);
  });
});
