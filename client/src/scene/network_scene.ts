// The scene as the page has it: listens to the store and to the pointer, and does what it is asked.
import { rect_of } from "../layout/blocks";
import { legend_of, type LegendSpec } from "../layout/legend";
import type { CameraPlace, Film, SceneCallbacks, SceneHandle, SceneStats } from "../layout/scene_handle";
import { node_point } from "../layout/path_places";
import { token_anchor, z_of_age } from "../layout/time_axis";
import type { Component } from "../protocol/generated";
import { drawn_file, drawn_text } from "../store/drawn_text";
import { explained_step } from "../store/explained";
import { is_layer_shown, peek_shown_layers } from "../store/layer_range";
import type { Store } from "../store/store";
import type { ViewPreset } from "../store/types";
import { film } from "./filming";
import { ArcDrag } from "./arc_drag";
import { Picker } from "./picking";
import { Picture } from "./picture";
import { listen_to_pointer } from "./pointer";
import { project } from "./projection";
import { compose, type StillParts } from "./still";
import { watch_store } from "./store_watch";
import { SCENE_THEMES } from "./theme";
import type { StreamDot } from "./stream_path";

export class NetworkScene implements SceneHandle {
  private readonly picture: Picture;
  private readonly picker: Picker;
  private readonly arc_drag: ArcDrag;
  private readonly legend_listeners = new Set<() => void>();
  private readonly camera_listeners = new Set<() => void>();
  private readonly disposers: (() => void)[];

  constructor(
    container: HTMLElement,
    private readonly store: Store,
    private readonly callbacks: SceneCallbacks,
  ) {
    this.picture = new Picture(container, store, {
      on_error: (message) => callbacks.on_error(message),
      rescaled: () => this.tell_legend(),
      rested: () => this.tell_camera(),
    });
    this.picker = new Picker(this.picture.rig.camera);
    this.arc_drag = new ArcDrag(this.picture, store);
    this.disposers = [...this.listen_to_store(), this.listen_to_pointer()];
  }

  private listen_to_store(): (() => void)[] {
    return watch_store(this.store, {
      model: (info) => this.picture.set_model(info),
      layers: (range) => this.picture.set_layer_range(range),
      dirty: (...what) => this.picture.mark_dirty(...what),
      legend: () => this.tell_legend(),
      dropped: () => this.picture.view?.forget(),
      still: (reduced_motion) => this.picture.rig.set_still(reduced_motion),
    });
  }

  private listen_to_pointer(): () => void {
    return listen_to_pointer(this.picture.surface.canvas, {
      hover: (x, y) => this.hover(x, y),
      leave: () => {
        this.callbacks.on_hover(null, 0, 0);
        if (this.picture.overlays.stream.hover(null)) this.request_redraw();
      },
      click: (x, y, toggle) => this.click(x, y, toggle),
      double_click: (x, y) => {
        const component = this.pick_seen(x, y);
        if (component) this.focus(component);
      },
      grab: (x, y) => !drawn_file(this.store) && this.callbacks.can_turn() && this.arc_drag.grab(x, y),
      drag: (x, y) => {
        this.arc_drag.move(x, y);
        this.picture.surface.canvas.style.cursor = "crosshair";
        this.request_redraw();
      },
      drop: (x, y) => {
        const turn = this.arc_drag.drop(x, y);
        this.request_redraw();
        if (turn) this.callbacks.on_turn(turn.query, turn.key);
      },
      let_go: () => {
        this.arc_drag.cancel();
        this.request_redraw();
      },
    });
  }

  request_redraw(): void {
    this.picture.frames.ask();
  }

  /** The dot of the residual stream's paths at a point of the canvas, CSS pixels. */
  private pick_stream(x: number, y: number): StreamDot | null {
    const { overlays, rig, surface } = this.picture;
    return overlays.stream.pick(rig.camera, surface.size, x, y);
  }

  token_position(pos: number): { x: number; y: number } | null {
    const { blocks, label_layer, rig, surface } = this.picture;
    const age = drawn_text(this.store).current_pos - pos;
    const labelled = label_layer.place_of(pos);
    if (labelled || !blocks || age < 0) return labelled;
    rig.camera.updateMatrixWorld();
    const at = project(token_anchor(blocks, age), rig.camera, ...surface.size);
    return at && { x: at.x, y: at.y };
  }

  stream_position(pos: number, point: number): { x: number; y: number } | null {
    const { overlays, rig, surface } = this.picture;
    const place = overlays.stream.place_of({ pos, point });
    rig.camera.updateMatrixWorld();
    return place && project(place, rig.camera, ...surface.size);
  }

  private hover(x: number, y: number): void {
    const dot = this.pick_stream(x, y);
    if (this.picture.overlays.stream.hover(dot)) this.request_redraw();
    if (dot) {
      this.picture.surface.canvas.style.cursor = "pointer";
      this.callbacks.on_hover(null, x, y);
      return;
    }
    const component = this.pick_seen(x, y);
    const over_label = !component && this.picture.label_layer.pos_at(x, y) !== null;
    this.picture.surface.canvas.style.cursor = component || over_label ? "pointer" : "grab";
    this.callbacks.on_hover(component, x, y);
  }

  private click(x: number, y: number, toggle: boolean): void {
    const pos = this.picture.label_layer.pos_at(x, y);
    if (pos !== null) {
      if (!drawn_file(this.store)) this.callbacks.on_select_pos(pos); // a file's tokens are not the run's
      return;
    }
    const dot = toggle ? null : this.pick_stream(x, y);
    if (dot) {
      this.callbacks.on_select_pos(dot.pos);
      // The stream after a layer is what its MLP leaves behind.
      if (dot.point > 0) this.callbacks.on_select({ kind: "mlp", layer: dot.point - 1, index: 0 });
      return;
    }
    const node = toggle ? null : this.pick_node(x, y);
    if (node !== null) {
      this.callbacks.on_select_node(node);
      return;
    }
    const component = this.pick_seen(x, y);
    if (component && toggle) this.callbacks.on_toggle(component);
    else this.callbacks.on_select(component);
  }

  /** The node of the shown attribution paths at a point of the canvas, CSS pixels. */
  pick_node(x: number, y: number): string | null {
    const { overlays, rig, surface } = this.picture;
    return overlays.paths.pick(rig.camera, surface.size, x, y);
  }

  node_position(node: string): { x: number; y: number } | null {
    const { blocks, rig, surface } = this.picture;
    const point = blocks && node_point(blocks, node, drawn_text(this.store).current_pos);
    if (!point) return null;
    rig.camera.updateMatrixWorld();
    const at = project(point, rig.camera, ...surface.size);
    return at && { x: at.x, y: at.y };
  }

  pick(x: number, y: number): Component | null {
    return this.picture.view && this.picker.pick(this.picture.view, this.picture.surface.size, x, y);
  }

  private pick_seen(x: number, y: number): Component | null {
    return this.picture.view && this.picker.pick_seen(this.picture.view, this.picture.surface.size, x, y);
  }

  screen_position(component: Component, pos?: number): { x: number; y: number } | null {
    const rect = this.picture.blocks && rect_of(this.picture.blocks, component);
    if (!rect) return null;
    this.picture.rig.camera.updateMatrixWorld();
    const z = pos === undefined ? 0 : z_of_age(this.store.current_pos.peek() - pos);
    const at = project([rect.x + rect.w / 2, rect.y + rect.h / 2, z], this.picture.rig.camera, ...this.picture.surface.size);
    return at && { x: at.x, y: at.y };
  }

  set_view(preset: ViewPreset, animate = true): void {
    this.picture.rig.set_view(preset, animate);
    this.request_redraw();
  }

  fit(): void {
    this.picture.rig.fit();
    this.request_redraw();
  }

  focus(component: Component): void {
    if (!is_layer_shown(peek_shown_layers(this.store), component.layer)) return;
    const rect = this.picture.blocks && rect_of(this.picture.blocks, component);
    if (rect) this.picture.rig.focus(rect);
    this.request_redraw();
  }

  orbit(d_azimuth: number, d_polar: number): void {
    this.picture.rig.orbit(d_azimuth, d_polar);
    this.request_redraw();
  }

  pan(dx: number, dy: number): void {
    this.picture.rig.pan(dx, dy);
    this.request_redraw();
  }

  zoom(factor: number): void {
    this.picture.rig.zoom(factor);
    this.request_redraw();
  }

  camera(): CameraPlace {
    return this.picture.rig.place;
  }

  set_camera(place: CameraPlace): void {
    this.picture.rig.set_place(place);
    this.request_redraw();
  }

  on_camera(listener: () => void): () => void {
    this.camera_listeners.add(listener);
    return () => this.camera_listeners.delete(listener);
  }

  private tell_camera(): void {
    for (const listener of this.camera_listeners) listener();
  }

  private still_parts(): StillParts {
    const { surface, label_layer } = this.picture;
    const theme = SCENE_THEMES[this.store.theme.peek()];
    return { drawn: surface.canvas, labels: label_layer, legend: this.legend(), theme, size: surface.size };
  }

  still(scale: number): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    if (!context) throw new Error("This browser gives no canvas to draw the picture on.");
    this.picture.draw_still(scale, (fitting) => {
      const { drawn } = this.still_parts();
      [canvas.width, canvas.height] = [drawn.width, drawn.height];
      compose(context, fitting, this.still_parts());
    });
    return canvas;
  }

  film(frames_per_second: number): Film {
    return film(this.picture, frames_per_second, () => this.still_parts());
  }

  stats(): SceneStats {
    const { blocks, surface, times, frames } = this.picture;
    return {
      draw_calls: surface.renderer.info.render.calls,
      last_update_ms: times.last_ms,
      update_ms_median: times.median_ms(),
      frames: frames.n_drawn,
      context_losses: surface.context_losses,
      n_cells: blocks ? blocks.n_layers * (blocks.d_mlp + blocks.n_heads) : 0,
    };
  }

  legend(): LegendSpec {
    const { store } = this;
    const { history, current_pos } = drawn_text(store);
    const step = explained_step(store, history.get(current_pos));
    return legend_of(store.display_channel.peek(), store.theme.peek(), step);
  }

  on_legend(listener: () => void): () => void {
    this.legend_listeners.add(listener);
    return () => this.legend_listeners.delete(listener);
  }

  private tell_legend(): void {
    for (const listener of this.legend_listeners) listener();
  }

  dispose(): void {
    for (const dispose of this.disposers) dispose();
    this.picture.dispose();
  }
}
