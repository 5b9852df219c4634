// Marks at places of the model, each a point that its shader draws a sign on. One draw call; the buffers are made once.
import { BufferAttribute, BufferGeometry, DynamicDrawUsage, Points, type RawShaderMaterial, Vector3 } from "three";
import type { Vec3 } from "../layout/framing";
import { ink_material } from "./ink_material";

type Rgb = readonly [number, number, number];

export interface PointMarksSpec<Colour extends string> {
  vertex: string;
  fragment: string;
  /** Most marks, and how many numbers `a_look` says of each. */
  capacity: number;
  look_size: number;
  colours: readonly Colour[];
  render_order: number;
}

export class PointMarks<Colour extends string> {
  readonly mesh: Points;
  private readonly geometry = new BufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly points: BufferAttribute;
  private readonly looks: BufferAttribute;
  /** How many are drawn now. */
  count = 0;

  constructor({ vertex, fragment, capacity, look_size, colours, render_order }: PointMarksSpec<Colour>) {
    const buffer = (size: number): BufferAttribute =>
      new BufferAttribute(new Float32Array(capacity * size), size).setUsage(DynamicDrawUsage);
    this.points = buffer(3);
    this.looks = buffer(look_size);
    this.geometry.setAttribute("position", this.points);
    this.geometry.setAttribute("a_look", this.looks);
    this.material = ink_material(vertex, fragment, {
      u_pixel_ratio: { value: 1 },
      ...Object.fromEntries(colours.map((name) => [`u_${name}`, { value: new Vector3() }])),
    });
    this.mesh = new Points(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = render_order;
    this.mesh.visible = false;
  }

  /** These marks and no others, as far as there is room. */
  set(marks: readonly { point: Vec3; look: readonly number[] }[]): void {
    this.count = Math.min(marks.length, this.points.count);
    for (let i = 0; i < this.count; i++) {
      const { point, look } = marks[i]!;
      this.points.setXYZ(i, point[0], point[1], point[2]);
      look.forEach((value, at) => this.looks.setComponent(i, at, value));
    }
    this.points.needsUpdate = this.looks.needsUpdate = true;
    this.geometry.setDrawRange(0, this.count);
    this.mesh.visible = this.count > 0;
  }

  set_colours(colours: Record<Colour, Rgb>): void {
    for (const [name, rgb] of Object.entries(colours) as [Colour, Rgb][]) {
      (this.material.uniforms[`u_${name}`]!.value as Vector3).set(...rgb);
    }
  }

  set_pixel_ratio(pixel_ratio: number): void {
    this.material.uniforms["u_pixel_ratio"]!.value = pixel_ratio;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
