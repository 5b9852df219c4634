import fc from "fast-check";
import { expect, it } from "vitest";
import type { ModelInfo } from "../protocol/generated";
import { fitting_range, is_layer_shown, is_stream_point_shown, shown_layers } from "./layer_range";
import { create_store } from "./store";

const bound = fc.oneof(fc.integer({ min: -3, max: 40 }), fc.constantFrom(Number.NaN, Infinity, 1.5));

it("a range is one of the model's layers that leaves some out, or there is none", () => {
  fc.assert(fc.property(bound, bound, fc.integer({ min: 0, max: 35 }), (first_layer, last_layer, n_layers) => {
    const range = fitting_range({ first_layer, last_layer }, n_layers);
    const layers = Array.from({ length: n_layers }, (_, layer) => layer);
    const inside = layers.filter((layer) => layer >= first_layer && layer <= last_layer);
    const fits = inside.length === last_layer - first_layer + 1 && inside.length > 0 && inside.length < n_layers;
    expect(range !== null).toBe(fits && inside[0] === first_layer);
    if (range) expect(layers.filter((layer) => is_layer_shown(range, layer))).toEqual(inside);
  }));
});

it("another model's range is none of this one's", () => {
  const store = create_store();
  store.layer_range.value = { first_layer: 1, last_layer: 1 };
  expect(shown_layers(store)).toBeNull();
  store.model_info.value = { n_layers: 3 } as ModelInfo;
  expect(shown_layers(store)).toEqual({ first_layer: 1, last_layer: 1 });
  store.model_info.value = { n_layers: 1 } as ModelInfo;
  expect(shown_layers(store)).toBeNull();
});

it("of a stream's points, what enters the shown layers and what each of them leaves are shown", () => {
  const points = Array.from({ length: 6 }, (_, point) => point);
  expect(points.filter((point) => is_stream_point_shown({ first_layer: 2, last_layer: 3 }, point))).toEqual([2, 3, 4]);
  expect(points.filter((point) => is_stream_point_shown(null, point))).toEqual(points);
});
