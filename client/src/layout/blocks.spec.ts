import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Component } from "../protocol/generated";
import { has_component } from "../store/query";
import { block_rect, build_blocks, component_at, neuron_columns, rect_of, SHEET_WIDTH, type ModelShape } from "./blocks";
import { component_id, component_of_key } from "./component_id";
import { MAX_TEXTURE_SIDE, pack_cells, texel_of, write_slice } from "./texels";

const shapes = fc.record({
  n_layers: fc.integer({ min: 1, max: 130 }),
  n_heads: fc.integer({ min: 0, max: 128 }),
  d_mlp: fc.integer({ min: 1, max: 40_000 }),
});

function any_component(shape: ModelShape, kind: number, layer: number, index: number): Component | null {
  const at = Math.floor(layer * shape.n_layers);
  if (kind === 0) return { kind: "neuron", layer: at, index: Math.floor(index * shape.d_mlp) };
  if (kind === 1) return shape.n_heads > 0 ? { kind: "head", layer: at, index: Math.floor(index * shape.n_heads) } : null;
  return { kind: kind === 2 ? "attn" : "mlp", layer: at, index: 0 };
}
const share = fc.double({ min: 0, max: 0.999999, noNaN: true });

describe("blocks", () => {
  it("gives every component a place of its own: component -> rectangle -> component", () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 0, max: 3 }), share, share, (shape, kind, layer, index) => {
        const component = any_component(shape, kind, layer, index);
        if (!component) return;
        const blocks = build_blocks(shape);
        const rect = rect_of(blocks, component)!;
        expect(rect.w).toBeGreaterThan(0);
        expect(rect.x).toBeGreaterThanOrEqual(0);
        expect(rect.x + rect.w).toBeLessThanOrEqual(SHEET_WIDTH + 1e-9);
        expect(component_at(blocks, rect.x + rect.w / 2, rect.y + rect.h / 2)).toEqual(component);
      }),
      { numRuns: 600 },
    );
  });

  it("finds the same component all over its rectangle", () => {
    fc.assert(
      fc.property(shapes, share, share, fc.double({ min: 0.02, max: 0.98, noNaN: true }), (shape, layer, index, inside) => {
        const blocks = build_blocks(shape);
        const component = any_component(shape, 0, layer, index)!;
        const rect = rect_of(blocks, component)!;
        expect(component_at(blocks, rect.x + rect.w * inside, rect.y + rect.h * (1 - inside))).toEqual(component);
      }),
    );
  });

  it("counts every neuron of a layer exactly once", () => {
    const blocks = build_blocks({ n_layers: 2, n_heads: 4, d_mlp: 1021 });
    const found = new Set<number>();
    for (let row = 0; row < blocks.rows; row++) {
      for (let column = 0; column < blocks.columns; column++) {
        const x = rect_of(blocks, { kind: "neuron", layer: 1, index: 0 })!.x + (column + 0.5) * blocks.cell;
        const component = component_at(blocks, x, blocks.panel_top - (row + 0.5) * blocks.cell);
        if (component) found.add(component.index);
      }
    }
    expect(found.size).toBe(1021);
  });

  it("leaves no ragged row where a shape near the wanted one divides evenly", () => {
    for (const shape of [
      { n_layers: 30, n_heads: 9, d_mlp: 1536 },
      { n_layers: 80, n_heads: 64, d_mlp: 28672 },
      { n_layers: 12, n_heads: 12, d_mlp: 3072 },
    ]) {
      expect(shape.d_mlp % neuron_columns(shape)).toBe(0);
    }
  });

  it("has nothing outside the model, between the layers, or for what the model lacks", () => {
    const blocks = build_blocks({ n_layers: 30, n_heads: 9, d_mlp: 1536 });
    expect(component_at(blocks, -0.01, 2)).toBeNull();
    expect(component_at(blocks, SHEET_WIDTH + 0.01, 2)).toBeNull();
    expect(component_at(blocks, blocks.layer_pitch, 2)).toBeNull();
    expect(component_at(blocks, 1, -5)).toBeNull();
    for (const index of [-1, 9, 1.5, NaN]) expect(has_component(blocks, { kind: "head", layer: 0, index })).toBe(false);
    expect(rect_of(blocks, { kind: "attn", layer: 30, index: 0 })).toBeNull();
    expect(() => build_blocks({ n_layers: 0, n_heads: 1, d_mlp: 1 })).toThrow(RangeError);
  });

  it("strikes out an attention block over its heads and an MLP block over its neurons", () => {
    const blocks = build_blocks({ n_layers: 3, n_heads: 8, d_mlp: 100 });
    const inside = (kind: "attn" | "mlp", component: Component): boolean => {
      const [outer, inner] = [block_rect(blocks, kind, 1), rect_of(blocks, component)!];
      return inner.x >= outer.x - 1e-9 && inner.y >= outer.y - 1e-9 && inner.y + inner.h <= outer.y + outer.h + 1e-9;
    };
    expect(inside("attn", { kind: "head", layer: 1, index: 7 })).toBe(true);
    expect(inside("mlp", { kind: "neuron", layer: 1, index: 99 })).toBe(true);
    expect(inside("mlp", { kind: "head", layer: 1, index: 7 })).toBe(false);
  });
});

describe("texels", () => {
  it("never exceeds the texture limit and gives every neuron its own texel", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: 70_000 }), share, share, (n_layers, d_mlp, a, b) => {
        const packing = pack_cells(n_layers, d_mlp);
        expect(packing.width).toBeLessThanOrEqual(MAX_TEXTURE_SIDE);
        const [first, second] = [Math.floor(a * d_mlp), Math.floor(b * d_mlp)];
        const layer = n_layers - 1;
        const [p, q] = [texel_of(packing, layer, first), texel_of(packing, layer, second)];
        expect(p.y).toBeLessThan(packing.height);
        expect(p.x === q.x && p.y === q.y).toBe(first === second);
      }),
    );
  });

  it("writes each code to the texel that the shader reads it from, wrapped past the limit too", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 90 }), fc.integer({ min: 6, max: 20 }), (n_layers, d_mlp, side) => {
        fc.pre(n_layers * Math.ceil(d_mlp / side) <= side);
        const packing = pack_cells(n_layers, d_mlp, side);
        const codes = Int8Array.from({ length: n_layers * d_mlp }, (_, i) => (i % 255) - 127);
        const target = new Int8Array(packing.slice_size + 3);
        write_slice(target, 3, codes, packing, d_mlp);
        for (let layer = 0; layer < n_layers; layer++) {
          for (let neuron = 0; neuron < d_mlp; neuron++) {
            const { x, y } = texel_of(packing, layer, neuron);
            expect(target[3 + y * packing.width + x]).toBe(codes[layer * d_mlp + neuron]);
          }
        }
      }),
    );
  });

  it("refuses a model that no texture could hold", () => {
    expect(() => pack_cells(5000, 20_000)).toThrow(RangeError);
  });
});

describe("component ids", () => {
  it("writes ids as people read them and reads the store's keys back", () => {
    expect(component_id({ kind: "head", layer: 12, index: 3 })).toBe("L12H3");
    expect(component_id({ kind: "neuron", layer: 7, index: 1404 })).toBe("L7N1404");
    expect(component_id({ kind: "mlp", layer: 5, index: 0 })).toBe("L5.mlp");
    expect(component_of_key("head:12:3")).toEqual({ kind: "head", layer: 12, index: 3 });
    for (const key of ["head:-1:3", "embed:1:0", "head:1", ""]) expect(component_of_key(key)).toBeNull();
  });
});
