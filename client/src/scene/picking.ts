// From a pixel to the component that is seen there: a ray, a plane, and arithmetic.
import { Raycaster, Vector2, type PerspectiveCamera } from "three";
import { component_at } from "../layout/blocks";
import { meet_plane } from "../layout/framing";
import type { Component } from "../protocol/generated";
import { is_layer_shown } from "../store/layer_range";
import type { ModelView } from "./model_view";

/** Cells to each side that are looked through for the one a pixel shows. */
const MAX_REACH = 8;

/** What picking needs of a model's view. */
export type PickedView = Pick<ModelView, "blocks" | "layer_range"> & { sheet: Pick<ModelView["sheet"], "code_of"> };

/** The shown component at a point of the sheet's plane. */
function shown_at({ blocks, layer_range }: PickedView, x: number, y: number): Component | null {
  const component = component_at(blocks, x, y);
  return component && is_layer_shown(layer_range, component.layer) ? component : null;
}

export class Picker {
  private readonly raycaster = new Raycaster();

  constructor(private readonly camera: PerspectiveCamera) {}

  /** The component exactly under a point of a canvas of `size`, CSS pixels. */
  pick(view: PickedView, size: readonly [number, number], x: number, y: number): Component | null {
    const at = this.on_sheet(size, x, y);
    return at && shown_at(view, at.x, at.y);
  }

  /** As `pick`, but of cells smaller than a pixel the one that the pixel shows: the loudest. */
  pick_seen(view: PickedView, size: readonly [number, number], x: number, y: number): Component | null {
    const found = this.pick(view, size, x, y);
    if (found?.kind !== "neuron") return found;
    const [here, beside] = [this.on_sheet(size, x, y)!, this.on_sheet(size, x + 1, y + 1)];
    const { cell } = view.blocks;
    const foot = beside ? Math.max(Math.abs(beside.x - here.x), Math.abs(beside.y - here.y)) : 0;
    const reach = Math.min(MAX_REACH, foot / cell / 2);
    if (reach < 0.6) return found;
    let [best, loudest] = [found, 0];
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const other = shown_at(view, here.x + dx * cell, here.y + dy * cell);
        if (other?.kind !== "neuron") continue;
        const loud = Math.abs(view.sheet.code_of(other.layer, other.index));
        if (loud > loudest) [best, loudest] = [other, loud];
      }
    }
    return best;
  }

  /** Where the ray through a pixel meets the shown sheet's plane. */
  private on_sheet(size: readonly [number, number], x: number, y: number): { x: number; y: number } | null {
    this.raycaster.setFromCamera(new Vector2((x / size[0]) * 2 - 1, 1 - (y / size[1]) * 2), this.camera);
    const { origin, direction } = this.raycaster.ray;
    return meet_plane([origin.x, origin.y, origin.z], [direction.x, direction.y, direction.z], 0);
  }
}
