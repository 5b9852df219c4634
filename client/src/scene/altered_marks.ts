// Marks on everything that is changed or gathered: where each lies, and in which shape it is drawn.
import { alterations, type Alteration } from "../layout/alterations";
import { block_rect, rect_of, type Blocks } from "../layout/blocks";
import type { Component, InterventionSpec } from "../protocol/generated";
import { has_component } from "../store/query";
import type { Mark, MarkStyle } from "./marks";

const SHAPES: Record<Alteration, MarkStyle> = {
  off: "cross", scaled: "triangle", replaced: "diamond", attention: "chevron", added: "plus", removed: "minus",
};

export function altered_marks(
  specs: readonly InterventionSpec[], picked: readonly Component[], blocks: Blocks,
): Mark[] {
  const { components, places } = alterations(specs);
  const marks: Mark[] = [];
  for (const component of picked) {
    const rect = rect_of(blocks, component);
    if (rect) marks.push({ rect, style: component.kind === "head" ? "disc_picked" : "picked" });
  }
  for (const { component, how } of components) {
    if (!has_component(blocks, component)) continue;
    const { kind, layer } = component;
    if (kind === "attn" || kind === "mlp") marks.push({ rect: block_rect(blocks, kind, layer), style: how === "off" ? "hatch" : "dots" });
    else marks.push({ rect: rect_of(blocks, component)!, style: SHAPES[how] });
  }
  for (const { place, how } of places) {
    if (place.layer >= blocks.n_layers) continue;
    const x = (place.layer + (place.hook === "resid_pre" ? 0 : 1)) * blocks.layer_pitch;
    marks.push({ rect: { x, y: blocks.spine_y, w: 0, h: 0 }, style: SHAPES[how] });
  }
  return marks;
}
