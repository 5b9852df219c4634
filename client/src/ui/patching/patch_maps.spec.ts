import { describe, expect, it } from "vitest";
import type { PatchingAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import { cell_name, column_label, component_of, differing_positions, maps_of, short_name, strongest, value_at } from "./patch_maps";

function tensor(shape: number[], values: number[]): HostTensor {
  return { shape, values: Float32Array.from(values) } as HostTensor;
}

const ANSWER = {
  metric: { pos: 2, target_text: " Mary", distractor_text: " John", value: 2 }, corrupted_value: -2,
  clean_tokens: ["When", " Mary", " to"], corrupted_tokens: ["When", " John", " to"], first_difference: 1,
  resid_pre: tensor([2, 3], [0, 1, 0, 0, 0.5, 0.75]), attn_out: tensor([2, 3], [0, 0, 0, 0, 0, -1.5]),
  mlp_out: tensor([2, 3], [0, 0, 0, 0, 0, 0]), heads_last: tensor([2, 2], [0, 0.25, 0, -0.5]),
  heads_all: tensor([2, 2], [0, 0, 0, 0]), resid_distance: tensor([3, 3], [0, 1, 0, 0, 2, 3, 0, 4, 5]),
  head_norm_difference: tensor([2, 2], [1, -2, 3, -4]),
} as unknown as PatchingAnswer;

describe("maps of two prompts", () => {
  it("shares one scale among maps of one unit, and none where the units differ", () => {
    expect(maps_of(ANSWER, "layers").map(({ scale }) => scale)).toEqual([1.5, 1.5, 1.5]);
    expect(maps_of(ANSWER, "apart").map(({ scale }) => scale)).toEqual([5, 4]);
  });
  it("reads a cell by layer and token", () => {
    const [stream] = maps_of(ANSWER, "layers");
    expect(value_at(stream!, { row: 1, column: 2 })).toBe(0.75);
    expect(value_at(stream!, { row: 9, column: 2 })).toBeNaN();
  });
  it("names both texts where the prompts differ", () => {
    const [stream, attn] = maps_of(ANSWER, "layers");
    const [distance] = maps_of(ANSWER, "apart");
    expect(differing_positions(ANSWER)).toEqual([1]);
    expect(column_label(ANSWER, 1)).toBe("Mary/John");
    expect(cell_name(stream!, { row: 1, column: 1 }, ANSWER)).toBe("Stream before L1 at 1 “ Mary” (other: “ John”)");
    expect(cell_name(attn!, { row: 1, column: 2 }, ANSWER)).toBe("L1.attn at 2 “ to”");
    expect(cell_name(distance!, { row: 2, column: 2 }, ANSWER)).toBe("Stream after L1 at 2 “ to”");
    expect(short_name(stream!, { row: 1, column: 1 }, ANSWER)).toBe("L1 at 1 Mary/John");
  });
  it("selects what wrote the stream last, and nothing below the first layer", () => {
    const [stream, attn, mlp] = maps_of(ANSWER, "layers");
    expect(component_of(stream!, { row: 1, column: 2 })).toEqual({ kind: "mlp", layer: 0, index: 0 });
    expect(component_of(stream!, { row: 0, column: 2 })).toBeNull();
    expect(component_of(attn!, { row: 1, column: 2 })).toEqual({ kind: "attn", layer: 1, index: 0 });
    expect(component_of(mlp!, { row: 1, column: 2 })).toEqual({ kind: "mlp", layer: 1, index: 0 });
    expect(component_of(maps_of(ANSWER, "heads")[0]!, { row: 1, column: 0 })).toEqual({ kind: "head", layer: 1, index: 0 });
  });
  it("lists the strongest by size, and no cell where nothing happened", () => {
    const [last, every] = maps_of(ANSWER, "heads");
    expect(strongest(last!, 12).map(({ cell, value }) => [cell.row, cell.column, value])).toEqual([[1, 1, -0.5], [0, 1, 0.25]]);
    expect(strongest(last!, 1)).toHaveLength(1);
    expect(strongest(every!, 12)).toEqual([]);
  });
});
