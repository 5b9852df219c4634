// Dragging an arc from one token's label to another: who looks, and where to. The labels are the handles, so that the
// camera keeps the rest of the canvas.
import { Raycaster, Vector2, Vector3 } from "three";
import type { Vec3 } from "../layout/framing";
import { token_anchor } from "../layout/time_axis";
import { nearest_place, turn_controls, turn_of } from "../layout/turn_arc";
import { drawn_text } from "../store/drawn_text";
import type { Store } from "../store/store";
import type { Picture } from "./picture";
import { project } from "./projection";

/** Tokens behind the shown one that an arc may end at though their labels are not drawn. */
const MAX_AGE = 200;

export class ArcDrag {
  private from: number | null = null;
  private readonly raycaster = new Raycaster();

  constructor(
    private readonly picture: Picture,
    private readonly store: Store,
  ) {}

  /** Take hold of the token whose label is at a point; false where there is none. */
  grab(x: number, y: number): boolean {
    this.from = this.picture.label_layer.pos_at(x, y);
    return this.from !== null;
  }

  /** Show the arc as far as it is drawn. */
  move(x: number, y: number): void {
    const { blocks, overlays } = this.picture;
    if (this.from === null || !blocks) return;
    const to = this.token_at(x, y);
    const start = this.anchor(this.from);
    const end = to === null ? this.point_under(x, y, start) : this.anchor(to);
    overlays.show_turn({ from: this.from, to: to === this.from ? null : to, controls: turn_controls(start, end) });
  }

  /** Let go: the token that is to look and the one to be looked at; null where they are no pair. */
  drop(x: number, y: number): { query: number; key: number } | null {
    const [from, to] = [this.from, this.token_at(x, y)];
    this.cancel();
    return from === null || to === null ? null : turn_of(from, to);
  }

  cancel(): void {
    this.from = null;
    this.picture.overlays.show_turn(null);
  }

  private anchor(pos: number): Vec3 {
    return token_anchor(this.picture.blocks!, drawn_text(this.store).current_pos - pos);
  }

  /** The token that a point is meant for: by its label, or by the place where that hangs. */
  private token_at(x: number, y: number): number | null {
    const labelled = this.picture.label_layer.pos_at(x, y);
    const { blocks, rig, surface } = this.picture;
    if (labelled !== null || !blocks) return labelled;
    const { current_pos } = drawn_text(this.store);
    const n_places = Math.min(current_pos, MAX_AGE) + 1;
    rig.camera.updateMatrixWorld();
    const places = Array.from({ length: n_places }, (_, age) => project(token_anchor(blocks, age), rig.camera, ...surface.size));
    const age = nearest_place(places, x, y);
    return age === null ? null : current_pos - age;
  }

  /** A place under the pointer, as far from the camera as `beside`. */
  private point_under(x: number, y: number, beside: Vec3): Vec3 {
    const { rig, surface } = this.picture;
    const [width, height] = surface.size;
    this.raycaster.setFromCamera(new Vector2((x / width) * 2 - 1, 1 - (y / height) * 2), rig.camera);
    const { origin, direction } = this.raycaster.ray;
    const far = origin.distanceTo(new Vector3(...beside));
    return [origin.x + far * direction.x, origin.y + far * direction.y, origin.z + far * direction.z];
  }
}
