// An arc that a person draws from one token to another: its curve, and the token that a point is meant for.
import type { Vec3 } from "./framing";

/** From a token's label this far, CSS pixels, a token is still meant. */
export const TOKEN_REACH_PX = 26;

/** Control points of the cubic between two places on the line of the tokens: up, over, and down. */
export function turn_controls(from: Vec3, to: Vec3): readonly [Vec3, Vec3, Vec3, Vec3] {
  const lift = 0.35 + 0.45 * Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
  const raised = (point: Vec3): Vec3 => [point[0], point[1] + lift, point[2]];
  return [from, raised(from), raised(to), to];
}

/** The index of the place nearest to a point within reach; null where none is. */
export function nearest_place(places: readonly ({ x: number; y: number } | null)[], x: number, y: number): number | null {
  let [found, least]: [number | null, number] = [null, TOKEN_REACH_PX];
  places.forEach((place, i) => {
    const far = place ? Math.hypot(place.x - x, place.y - y) : Infinity;
    if (far < least) [found, least] = [i, far];
  });
  return found;
}

/** Who looks and where to: of two tokens the later one can see the earlier. */
export function turn_of(a: number, b: number): { query: number; key: number } | null {
  return a === b ? null : { query: Math.max(a, b), key: Math.min(a, b) };
}
