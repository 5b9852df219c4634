// Places of the world on the canvas, and places that are asked for in every frame while the camera stands still.
import { Matrix4, Vector3, type PerspectiveCamera } from "three";
import type { Blocks } from "../layout/blocks";
import type { Vec3 } from "../layout/framing";
import { token_anchor } from "../layout/time_axis";

export interface Projected {
  /** CSS pixels. */
  x: number;
  y: number;
  /** Distance from the camera's plane, world units. */
  depth: number;
}

const SCRATCH = new Vector3();

/** Canvas pixels of a point of the world, and its distance; null behind the camera. */
export function project(point: Vec3, camera: PerspectiveCamera, width: number, height: number): Projected | null {
  SCRATCH.set(point[0], point[1], point[2]).applyMatrix4(camera.matrixWorldInverse);
  const depth = -SCRATCH.z;
  if (depth <= camera.near) return null;
  SCRATCH.applyMatrix4(camera.projectionMatrix);
  return { x: (SCRATCH.x * 0.5 + 0.5) * width, y: (0.5 - SCRATCH.y * 0.5) * height, depth };
}

/** One camera over one model on one canvas: what is seen through it stays where it is until any of them changes. */
export class Standpoint {
  private blocks: Blocks | null = null;
  private readonly view = new Matrix4();
  private readonly projection = new Matrix4();
  private width = 0;
  private height = 0;
  private anchors: (Projected | null)[] = [];

  /** Take what is so now; true where it differs from the last time. */
  stand(blocks: Blocks, camera: PerspectiveCamera, width: number, height: number): boolean {
    const is_same =
      this.blocks === blocks && this.width === width && this.height === height &&
      this.view.equals(camera.matrixWorldInverse) && this.projection.equals(camera.projectionMatrix);
    if (is_same) return false;
    this.blocks = blocks;
    this.width = width;
    this.height = height;
    this.view.copy(camera.matrixWorldInverse);
    this.projection.copy(camera.projectionMatrix);
    this.anchors = [];
    return true;
  }

  /** Where the label of the token `age` positions before the shown one hangs; null behind the camera. */
  anchor(age: number, camera: PerspectiveCamera): Projected | null {
    if (!this.blocks) return null;
    const known = this.anchors[age];
    if (known !== undefined) return known;
    return (this.anchors[age] = project(token_anchor(this.blocks, age), camera, this.width, this.height));
  }
}
