// Where the nodes of attribution lie in the world, and the curves between them.
import { rect_of, type Blocks } from "./blocks";
import { arc_controls } from "./attention_arcs";
import type { Vec3 } from "./framing";
import { component_of_node, parse_node } from "./node_id";
import { token_anchor, z_of_age } from "./time_axis";

/** Most edges and nodes that are drawn at once; the strongest come first. */
export const MAX_PATH_EDGES = 600;
export const MAX_PATH_NODES = 600;

/** The middle of a node: a component on its token's sheet, a token on the rail, the logit at the stream's end. */
export function node_point(blocks: Blocks, node: string, current_pos: number): Vec3 | null {
  const place = parse_node(node);
  if (!place) return null;
  const age = current_pos - place.pos;
  if (age < 0) return null; // a token that is not shown yet
  const z = z_of_age(age);
  const component = component_of_node(node);
  if (component) {
    const rect = rect_of(blocks, component);
    return rect && [rect.x + rect.w / 2, rect.y + rect.h / 2, z];
  }
  if (place.kind === "logit") return [blocks.spine_to_x, blocks.spine_y, z];
  if (place.kind === "embed" || place.kind === "pos_embed") return token_anchor(blocks, age);
  return null; // a bias is everywhere
}

/** Control points of the curve between two nodes: it leaves the upper one upward and comes down on the other. */
export function path_controls(a: Vec3, b: Vec3): readonly [Vec3, Vec3, Vec3, Vec3] {
  return a[1] >= b[1] ? arc_controls(a, b) : arc_controls(b, a);
}

/** A point of the cubic with these controls, `t` 0 to 1. */
export function curve_point(controls: readonly Vec3[], t: number): Vec3 {
  const u = 1 - t;
  const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  const at = (axis: 0 | 1 | 2): number =>
    a * controls[0]![axis] + b * controls[1]![axis] + c * controls[2]![axis] + d * controls[3]![axis];
  return [at(0), at(1), at(2)];
}
