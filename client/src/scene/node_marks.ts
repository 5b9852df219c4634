// The nodes of the shown paths: a ring each at its cell on its token's sheet, filled where the walk stands.
import { MAX_PATH_NODES } from "../layout/path_places";
import type { Vec3 } from "../layout/framing";
import { PointMarks } from "./point_marks";

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform float u_pixel_ratio;
in vec3 position;
in vec3 a_look; // share of the largest, sign, 1 where the walk stands (2: pinned)
out vec2 v_look;
out float v_size;
void main() {
  gl_Position = projectionMatrix * viewMatrix * vec4(position, 1.0);
  float size = (8.0 + 6.0 * sqrt(a_look.x) + (a_look.z > 0.5 ? 4.0 : 0.0)) * u_pixel_ratio;
  gl_PointSize = size;
  v_size = size;
  v_look = a_look.yz;
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
uniform vec3 u_positive, u_negative, u_here, u_ground;
uniform float u_pixel_ratio;
in vec2 v_look;
in float v_size;
out vec4 colour;
void main() {
  float d = length(gl_PointCoord - 0.5) * v_size;
  float radius = 0.5 * v_size - 1.5;
  float ring = 1.0 - smoothstep(0.9, 1.7, abs(d - radius + 1.0) / u_pixel_ratio);
  float inside = 1.0 - smoothstep(radius - 1.0, radius, d);
  bool here = v_look.y > 0.5 && v_look.y < 1.5;
  float fill = here ? inside : v_look.y > 1.5 ? 1.0 - smoothstep(0.2, 0.3, d / v_size) : 0.0;
  vec3 rgb = here ? u_here : v_look.x < 0.0 ? u_negative : u_positive;
  float ink = max(ring, fill);
  float alpha = max(ink, 0.45 * inside);
  if (alpha < 0.01) discard;
  colour = vec4(mix(u_ground, rgb, ink) * alpha, alpha);
}`;

export interface NodeMark {
  node: string;
  point: Vec3;
  /** Of the largest |relevance|, 0 to 1. */
  share: number;
  is_negative: boolean;
  state: "seen" | "here" | "pinned";
}

const STATES = { seen: 0, here: 1, pinned: 2 } as const;

export class NodeMarks extends PointMarks<"positive" | "negative" | "here" | "ground"> {
  constructor() {
    super({
      vertex: VERTEX, fragment: FRAGMENT, capacity: MAX_PATH_NODES, look_size: 3, render_order: 7,
      colours: ["positive", "negative", "here", "ground"],
    });
  }

  show(marks: readonly NodeMark[]): void {
    this.set(marks.map(({ point, share, is_negative, state }) => ({ point, look: [share, is_negative ? -1 : 1, STATES[state]] })));
  }
}
