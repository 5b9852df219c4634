import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { build_blocks, rect_of } from "./blocks";
import { component_of_node, node_of, parse_node } from "./node_id";
import { curve_point, node_point, path_controls } from "./path_places";
import { token_anchor, z_of_age } from "./time_axis";

const BLOCKS = build_blocks({ n_layers: 4, n_heads: 3, d_mlp: 12 });

describe("node names", () => {
  it("are read as the server writes them, and nothing else is", () => {
    expect(parse_node("L12H3@37")).toEqual({ kind: "head", layer: 12, index: 3, pos: 37 });
    expect(parse_node("L5.attn_bias@0")?.kind).toBe("attn_bias");
    expect(parse_node("embed@3")).toMatchObject({ kind: "embed", pos: 3 });
    for (const text of ["L12H3", "L1.mlp@", "embed@-1", "L1H2@3 ", "<b>@1", "L1Z2@3"]) expect(parse_node(text)).toBeNull();
  });

  it("of components come back as they went", () => {
    const components = fc.record({
      kind: fc.constantFrom("head" as const, "neuron" as const), layer: fc.nat(99), index: fc.nat(9999),
    });
    fc.assert(fc.property(components, fc.nat(2000), (component, pos) => {
      expect(component_of_node(node_of(component, pos))).toEqual(component);
    }));
  });
});

describe("places of nodes", () => {
  it("lie on their own token's sheet", () => {
    const rect = rect_of(BLOCKS, { kind: "head", layer: 2, index: 1 })!;
    expect(node_point(BLOCKS, "L2H1@3", 5)).toEqual([rect.x + rect.w / 2, rect.y + rect.h / 2, z_of_age(2)]);
    expect(node_point(BLOCKS, "embed@1", 5)).toEqual(token_anchor(BLOCKS, 4));
    expect(node_point(BLOCKS, "logit@5", 5)).toEqual([BLOCKS.spine_to_x, BLOCKS.spine_y, z_of_age(0)]);
  });

  it("are nowhere for a later token, another model's component, or a bias", () => {
    for (const node of ["L2H1@6", "L9H1@3", "L2H7@3", "bias@2"]) expect(node_point(BLOCKS, node, 5)).toBeNull();
  });

  it("are joined by a curve from one to the other, whichever is named first", () => {
    const [a, b] = [node_point(BLOCKS, "L0.mlp@1", 5)!, node_point(BLOCKS, "L3H2@5", 5)!];
    for (const controls of [path_controls(a, b), path_controls(b, a)]) {
      const ends = [curve_point(controls, 0), curve_point(controls, 1)];
      for (const end of [a, b]) {
        expect(Math.min(...ends.map((at) => Math.hypot(...at.map((x, i) => x - end[i]!))))).toBeLessThan(1e-9);
      }
    }
  });
});
