import fc from "fast-check";
import { PerspectiveCamera } from "three";
import { expect, it } from "vitest";
import { build_blocks, rect_of, SHEET_WIDTH, shown_span } from "../layout/blocks";
import { is_layer_shown, type LayerRange } from "../store/layer_range";
import { Picker, type PickedView } from "./picking";
import { project } from "./projection";

const SIZE = [640, 400] as const;
const SHAPE = { n_layers: 12, n_heads: 4, d_mlp: 3000 };
const blocks = build_blocks(SHAPE);

const camera = new PerspectiveCamera(34, SIZE[0] / SIZE[1], 0.05, 500);
camera.position.set(SHEET_WIDTH / 2, blocks.top / 2, SHEET_WIDTH * 1.4);
camera.updateMatrixWorld();
const picker = new Picker(camera);

/** Cells of the first layers are the loudest. */
const view = (layer_range: LayerRange | null): PickedView => ({
  blocks, layer_range, sheet: { code_of: (layer) => 127 - layer },
});

it("nothing outside the shown layers is picked, everything inside is as without a range", () => {
  const seen = new Set<string>();
  fc.assert(fc.property(
    fc.integer({ min: 0, max: SIZE[0] }), fc.integer({ min: 0, max: SIZE[1] }), fc.nat(11), fc.nat(11), (x, y, a, b) => {
      const range = { first_layer: Math.min(a, b), last_layer: Math.max(a, b) };
      const plain = picker.pick(view(null), SIZE, x, y);
      const found = picker.pick(view(range), SIZE, x, y);
      expect(found).toEqual(plain && is_layer_shown(range, plain.layer) ? plain : null);
      const loudest = picker.pick_seen(view(range), SIZE, x, y); // looks at cells beside the pixel's own
      expect(loudest === null || is_layer_shown(range, loudest.layer)).toBe(true);
      seen.add(found ? found.kind : "none");
    },
  ), { numRuns: 2000 });
  expect([...seen]).toEqual(expect.arrayContaining(["head", "neuron", "none"])); // the strips are thin
});

it("a head is found where it is drawn, and no longer once its layer is left out", () => {
  const head = { kind: "head", layer: 7, index: 2 } as const;
  const rect = rect_of(blocks, head)!;
  const at = project([rect.x + rect.w / 2, rect.y + rect.h / 2, 0], camera, ...SIZE)!;
  expect(picker.pick_seen(view({ first_layer: 7, last_layer: 9 }), SIZE, at.x, at.y)).toEqual(head);
  expect(picker.pick_seen(view({ first_layer: 8, last_layer: 9 }), SIZE, at.x, at.y)).toBeNull();
});

it("what is drawn of a range is what can be picked of it", () => {
  for (let layer = 0; layer < SHAPE.n_layers; layer++) {
    const [from, to] = shown_span(blocks, { first_layer: 3, last_layer: 6 });
    const { x, w } = rect_of(blocks, { kind: "mlp", layer, index: 0 })!;
    expect([x >= from && x + w <= to, x + w <= from || x >= to]).toEqual([layer >= 3 && layer <= 6, layer < 3 || layer > 6]);
  }
});
