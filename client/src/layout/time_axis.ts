// Front to back is time: the shown token at z 0, earlier tokens behind it.
import type { Blocks } from "./blocks";
import type { Vec3 } from "./framing";

/** Earlier tokens whose sheets are drawn; older ones keep a place for labels and arcs. */
export const MAX_PAST_SHEETS = 24;
export const TOKEN_SPACING = 0.62;
const FAR_TOKENS = 7;

/** z of a token `age` positions before the shown one: even spacing, then ever closer so that a long text stays near. */
export function z_of_age(age: number): number {
  if (age <= MAX_PAST_SHEETS) return -age * TOKEN_SPACING;
  const beyond = age - MAX_PAST_SHEETS;
  return -TOKEN_SPACING * (MAX_PAST_SHEETS + FAR_TOKENS * (1 - Math.exp(-beyond / (4 * FAR_TOKENS))));
}

/** How strongly a sheet of that age is drawn, 1 for the shown token, near 0 for the last one drawn. */
export function fade_of_age(age: number): number {
  if (age <= 0) return 1;
  return 0.68 * Math.pow(Math.max(0, 1 - (age - 1) / MAX_PAST_SHEETS), 1.4);
}

/** Where the label of a token hangs, and where arcs to it end. */
export function token_anchor(blocks: Blocks, age: number): Vec3 {
  return [blocks.spine_from_x, blocks.spine_y, z_of_age(age)];
}
