// What is laid over the shown sheet: marks on what is changed, gathered, hovered or selected, and the selected head's attention.
import type { Object3D } from "three";
import { arc_controls, MAX_ARCS, strongest_keys, type ArcTarget } from "../layout/attention_arcs";
import { rect_of, shown_span, type Blocks } from "../layout/blocks";
import { colour_at } from "../layout/colour";
import type { Vec3 } from "../layout/framing";
import { token_anchor } from "../layout/time_axis";
import type { Component } from "../protocol/generated";
import { drawn_text } from "../store/drawn_text";
import { explained_step } from "../store/explained";
import { acting_at } from "../store/interventions";
import { is_layer_shown, peek_shown_layers } from "../store/layer_range";
import type { Store } from "../store/store";
import { same_component, type Theme } from "../store/types";
import { altered_marks } from "./altered_marks";
import { Arcs, type Arc } from "./arcs";
import { CausalMarks } from "./causal_marks";
import { Marks, type Mark } from "./marks";
import { PathOverlay } from "./path_overlay";
import { StreamPathOverlay } from "./stream_path";
import { rgb_floats, type SceneTheme } from "./theme";

/** An arc that is being drawn by hand; `to` is none while it ends at no token. */
export interface DrawnTurn {
  from: number;
  to: number | null;
  controls: Arc["controls"];
}

export class Overlays {
  private readonly arcs = new Arcs(MAX_ARCS);
  private readonly turn_arc = new Arcs(1);
  private readonly marks = new Marks();
  readonly causal: CausalMarks;
  readonly paths: PathOverlay;
  readonly stream: StreamPathOverlay;
  readonly meshes: Object3D[];
  /** The tokens that the drawn arcs lead to, strongest first. */
  arc_targets: readonly ArcTarget[] = [];
  turn: DrawnTurn | null = null;

  constructor(private readonly store: Store) {
    this.causal = new CausalMarks(store);
    this.paths = new PathOverlay(store);
    this.stream = new StreamPathOverlay(store);
    this.meshes = [this.arcs.mesh, this.turn_arc.mesh, this.marks.mesh, this.causal.mesh, ...this.paths.meshes, ...this.stream.meshes];
  }

  show_turn(turn: DrawnTurn | null): void {
    this.turn = turn;
    this.turn_arc.set(turn ? [{ controls: turn.controls, weight: 0.35 }] : []);
  }

  /** Attribution paths anew from the store; while they are shown, attention makes room for them. */
  update_paths(blocks: Blocks | null): void {
    this.paths.update(blocks);
    this.update_arcs(blocks);
  }

  /** Marks anew from the store: of changes elsewhere in the text none at this token; without a model none at all. */
  update_marks(blocks: Blocks | null): void {
    const { tokens, current_pos } = drawn_text(this.store);
    const acting = acting_at(this.store.interventions.peek(), current_pos, tokens);
    const marks: Mark[] = blocks ? altered_marks(acting, this.store.picked.peek(), blocks) : [];
    if (blocks) {
      const [selection, hovered] = [this.store.selection.peek(), this.store.hovered.peek()];
      if (!same_component(selection, hovered)) add_outline(marks, blocks, hovered, "hovered");
      add_outline(marks, blocks, selection, "selected");
    }
    const [from, to] = blocks ? shown_span(blocks, peek_shown_layers(this.store)) : [0, 0];
    this.marks.set(marks.filter(({ rect: { x, w } }) => x + w / 2 >= from && x + w / 2 <= to));
  }

  /** Arcs anew from the store and the shown step. */
  update_arcs(blocks: Blocks | null): void {
    const { store } = this;
    const selection = store.selection.peek();
    const { history, current_pos: current } = drawn_text(store);
    const step = explained_step(store, history.get(current));
    const is_free = !this.paths.is_shown && selection !== null && is_layer_shown(peek_shown_layers(store), selection.layer);
    const rect = blocks && is_free && selection.kind === "head" ? rect_of(blocks, selection) : null;
    this.arc_targets = rect && step ? strongest_keys(step, selection!.layer, selection!.index) : [];
    if (!blocks || !rect) {
      this.arcs.set([]);
      return;
    }
    const head: Vec3 = [rect.x + rect.w / 2, rect.y + rect.h / 2, 0];
    const arcs = this.arc_targets.map(({ key_pos, weight }) => ({ controls: arc_controls(head, token_anchor(blocks, current - key_pos)), weight }));
    this.arcs.set(arcs.reverse());
  }

  set_theme(theme: SceneTheme, name: Theme): void {
    const accent = rgb_floats(theme.accent);
    // A difference may be negative: the other run looks there more.
    const [r, g, b] = colour_at("direct_logit", name, 0.15);
    this.turn_arc.set_colours(accent, accent, theme.glow);
    this.arcs.set_colours(accent, [r / 255, g / 255, b / 255], theme.glow);
    this.paths.set_theme(theme, name);
    this.causal.set_theme(theme, name);
    this.stream.set_theme(theme, name);
    this.marks.set_theme(theme);
  }

  /** Device pixels, and how many of them a CSS pixel has. */
  set_viewport(width: number, height: number, pixel_ratio: number): void {
    this.arcs.set_viewport(width, height, pixel_ratio);
    this.turn_arc.set_viewport(width, height, pixel_ratio);
    this.marks.set_viewport(width, height, pixel_ratio);
    this.paths.set_viewport(width, height, pixel_ratio);
    this.causal.set_pixel_ratio(pixel_ratio);
    this.stream.set_viewport(width, height, pixel_ratio);
  }

  dispose(): void {
    this.arcs.dispose();
    this.turn_arc.dispose();
    this.marks.dispose();
    this.paths.dispose();
    this.causal.dispose();
    this.stream.dispose();
  }
}

function add_outline(marks: Mark[], blocks: Blocks, component: Component | null, style: "hovered" | "selected"): void {
  const rect = component && rect_of(blocks, component);
  if (rect) marks.push({ rect, style: component.kind === "head" ? `disc_${style}` : style });
}
