// The scene at work: listens to the store, brings changes up once a frame, draws only when something changed.
import { effect } from "@preact/signals";
import { Raycaster, Scene, Vector2, type WebGLRenderer } from "three";
import { strongest_keys, type ArcTarget } from "../layout/attention_arcs";
import { block_rect, component_at, has_component, rect_of } from "../layout/blocks";
import { colour_map } from "../layout/colour";
import { component_of_key } from "../layout/component_id";
import { meet_plane, type Vec3 } from "../layout/framing";
import { legend_of, type LegendSpec } from "../layout/legend";
import { MAX_PAST_SHEETS, z_of_age } from "../layout/time_axis";
import type { Component } from "../protocol/generated";
import type { Store } from "../store/store";
import { same_component, type ViewPreset } from "../store/types";
import { Arcs } from "./arcs";
import { CameraRig } from "./camera_rig";
import type { SceneCallbacks, SceneHandle, SceneStats } from "./index";
import { LabelLayer } from "./label_layer";
import { Marks, type Mark } from "./marks";
import { ModelView } from "./model_view";
import { Pace, type Quality } from "./pace";
import { listen_to_pointer } from "./pointer";
import { collect_labels, project, token_anchor } from "./scene_labels";
import { SCENE_THEMES } from "./theme";
import { UpdateTimes } from "./update_times";
import { create_renderer } from "./webgl";

/** Stillness after which a picture drawn in haste is drawn in full. */
const REST_MS = 140;

type Dirty = "values" | "marks" | "arcs" | "colours";

export class NetworkScene implements SceneHandle {
  private readonly canvas = document.createElement("canvas");
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly rig: CameraRig;
  private readonly labels: LabelLayer;
  private readonly arcs = new Arcs();
  private readonly marks = new Marks();
  private readonly times = new UpdateTimes();
  private readonly pace = new Pace();
  private quality: Quality = this.pace.resting;
  private rest_timer = 0;
  private readonly disposers: (() => void)[] = [];
  private readonly dirty = new Set<Dirty>(["values", "marks", "arcs", "colours"]);
  private readonly legend_listeners = new Set<() => void>();
  private readonly raycaster = new Raycaster();
  private view: ModelView | null = null;
  private arc_targets: ArcTarget[] = [];
  private frame_request = 0;
  private last_frame_ms = 0;
  private size: [number, number] = [1, 1];
  private lost = false;
  private frames = 0;
  private context_losses = 0;

  constructor(
    private readonly container: HTMLElement,
    private readonly store: Store,
    private readonly callbacks: SceneCallbacks,
  ) {
    Object.assign(this.canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", display: "block", touchAction: "none" });
    this.renderer = create_renderer(this.canvas, (message) => callbacks.on_error(message));
    container.append(this.canvas);
    this.labels = new LabelLayer(container);
    this.rig = new CameraRig(this.canvas, () => this.request_redraw());
    this.scene.add(this.arcs.mesh, this.marks.mesh);
    this.watch_store();
    this.watch_element();
  }

  private mark_dirty(...what: Dirty[]): void {
    for (const one of what) this.dirty.add(one);
    this.request_redraw();
  }

  private watch_store(): void {
    const { store } = this;
    this.disposers.push(
      effect(() => this.set_model(store.model_info.value)),
      effect(() => {
        void store.theme.value;
        void store.display_channel.value;
        this.mark_dirty("colours", "values", "marks", "arcs");
        this.tell_legend();
      }),
      effect(() => {
        void store.current_pos.value;
        this.mark_dirty("values", "arcs");
      }),
      effect(() => {
        void store.tokens.value;
        this.request_redraw();
      }),
      effect(() => {
        void store.touched.value;
        void store.hovered.value;
        this.mark_dirty("marks");
      }),
      effect(() => {
        void store.selection.value;
        this.mark_dirty("marks", "arcs");
      }),
      effect(() => this.rig.set_still(store.reduced_motion.value)),
      store.history.subscribe((pos) => {
        const current = store.current_pos.peek();
        if (pos < 0) this.view?.forget();
        if (pos < 0 || (pos <= current && pos >= current - MAX_PAST_SHEETS)) this.mark_dirty("values", "arcs");
      }),
    );
  }

  private watch_element(): void {
    const observer = new ResizeObserver(() => this.resize());
    observer.observe(this.container);
    this.resize();
    const abort = new AbortController();
    this.canvas.addEventListener(
      "webglcontextlost",
      (event) => {
        event.preventDefault();
        this.lost = true;
        this.context_losses++;
      },
      { signal: abort.signal },
    );
    this.canvas.addEventListener("webglcontextrestored", () => this.restore(), { signal: abort.signal });
    this.disposers.push(
      () => observer.disconnect(),
      () => abort.abort(),
      listen_to_pointer(this.canvas, {
        hover: (x, y) => this.hover(x, y),
        leave: () => this.callbacks.on_hover(null, 0, 0),
        click: (x, y, toggle) => this.click(x, y, toggle),
        double_click: (x, y) => {
          const component = this.pick_seen(x, y);
          if (component) this.focus(component);
        },
      }),
    );
  }

  /** Everything on the GPU comes again from the CPU copies. */
  private restore(): void {
    this.lost = false;
    this.view?.restore();
    this.mark_dirty("values", "marks", "arcs", "colours");
  }

  private set_model(info: Store["model_info"]["value"]): void {
    this.view?.dispose();
    this.view = null;
    if (info) {
      try {
        this.view = new ModelView(info, this.scene);
        this.rig.set_blocks(this.view.blocks);
      } catch (error) {
        this.callbacks.on_error(`This model cannot be drawn: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    this.resize();
    this.mark_dirty("values", "marks", "arcs", "colours");
  }

  private resize(): void {
    const width = Math.max(1, this.container.clientWidth);
    const height = Math.max(1, this.container.clientHeight);
    this.size = [width, height];
    this.rig.resize(width, height);
    this.set_resolution(this.quality.resolution);
    this.request_redraw();
  }

  private set_resolution(share: number): void {
    const [width, height] = this.size;
    const pixel_ratio = Math.min(window.devicePixelRatio || 1, 2) * share;
    this.renderer.setPixelRatio(pixel_ratio);
    this.renderer.setSize(width, height, false);
    const [w, h] = [width * pixel_ratio, height * pixel_ratio];
    this.view?.set_viewport(w, h);
    this.arcs.set_viewport(w, h, pixel_ratio);
    this.marks.set_viewport(w, h, pixel_ratio);
  }

  private set_quality(quality: Quality): void {
    if (quality === this.quality) return;
    if (quality.resolution !== this.quality.resolution) this.set_resolution(quality.resolution);
    this.view?.sheet.set_soft(quality.soft);
    this.quality = quality;
  }

  /** Draw in full once nothing has moved for a moment: a drag pauses between two events. */
  private rest_soon(): void {
    clearTimeout(this.rest_timer);
    if (this.quality === this.pace.resting) return;
    this.rest_timer = window.setTimeout(() => {
      this.set_quality(this.pace.resting);
      this.request_redraw();
    }, REST_MS);
  }

  request_redraw(): void {
    if (!this.frame_request) this.frame_request = requestAnimationFrame((now) => this.frame(now));
  }

  private frame(now: number): void {
    this.frame_request = 0;
    if (this.lost) return;
    const from = performance.now();
    const interval_ms = this.last_frame_ms ? now - this.last_frame_ms : 0;
    this.last_frame_ms = now;
    const moving = this.rig.update(Math.min(0.1, interval_ms ? interval_ms / 1000 : 0.016));
    if (moving) this.set_quality(this.pace.moving(interval_ms));
    this.rest_soon();
    const { wrote, more } = this.bring_up();
    this.draw();
    this.draw_labels();
    this.frames++;
    if (wrote) this.times.add(performance.now() - from);
    if (moving || more) this.request_redraw();
    else this.last_frame_ms = 0;
  }

  private bring_up(): { wrote: boolean; more: boolean } {
    const { store, view } = this;
    const theme = SCENE_THEMES[store.theme.peek()];
    const channel = store.display_channel.peek();
    const current = store.current_pos.peek();
    if (this.dirty.delete("colours")) {
      this.renderer.setClearColor(theme.background, 1);
      this.arcs.set_theme(theme);
      this.marks.set_theme(theme);
      view?.set_colours(theme, colour_map(channel, store.theme.peek()));
    }
    let changed = { wrote: false, more: false };
    if (view && this.dirty.delete("values")) {
      changed = view.bring_up(store.history, current, channel, theme);
      if (changed.more) this.dirty.add("values");
      if (channel === "direct_logit" && changed.wrote) this.tell_legend();
    }
    if (this.dirty.delete("marks")) this.update_marks();
    if (this.dirty.delete("arcs")) this.update_arcs();
    view?.place(current, this.past_strength);
    return changed;
  }

  /** Looking straight at the sheet gives a flat, exact heat map: what lies behind is left out. */
  private get past_strength(): number {
    return 1 - Math.min(1, Math.max(0, (this.rig.frontality - 0.985) / 0.012));
  }

  private update_marks(): void {
    const { store, view } = this;
    const marks: Mark[] = [];
    if (view) {
      for (const key of store.touched.peek()) {
        const component = component_of_key(key);
        if (!component || !has_component(view.blocks, component)) continue;
        const { kind, layer } = component;
        if (kind === "attn" || kind === "mlp") marks.push({ rect: block_rect(view.blocks, kind, layer), style: "hatch" });
        else marks.push({ rect: rect_of(view.blocks, component)!, style: "cross" });
      }
      const outline = (component: Component | null, style: "hovered" | "selected"): void => {
        const rect = component && rect_of(view.blocks, component);
        if (rect) marks.push({ rect, style: component.kind === "head" ? `disc_${style}` : style });
      };
      const [selection, hovered] = [store.selection.peek(), store.hovered.peek()];
      if (!same_component(selection, hovered)) outline(hovered, "hovered");
      outline(selection, "selected");
    }
    this.marks.set(marks);
  }

  private update_arcs(): void {
    const { store, view } = this;
    const selection = store.selection.peek();
    const current = store.current_pos.peek();
    const step = store.history.get(current);
    const rect = view && selection?.kind === "head" ? rect_of(view.blocks, selection) : null;
    this.arc_targets = rect && step ? strongest_keys(step, selection!.layer, selection!.index) : [];
    if (!view || !rect) {
      this.arcs.set(null, []);
      return;
    }
    const head: Vec3 = [rect.x + rect.w / 2, rect.y + rect.h / 2, 0];
    const arcs = this.arc_targets.map(({ key_pos, weight }) => ({ token: token_anchor(view.blocks, current - key_pos), weight }));
    this.arcs.set(head, arcs.reverse());
  }

  private draw(): void {
    this.renderer.info.reset();
    this.view?.sheet.before_render(this.renderer);
    this.renderer.clear();
    this.renderer.render(this.scene, this.rig.camera);
  }

  private draw_labels(): void {
    const { store, view } = this;
    if (!view) {
      this.labels.render([], SCENE_THEMES[store.theme.peek()].labels);
      return;
    }
    const [width, height] = this.size;
    const current_pos = store.current_pos.peek();
    const specs = collect_labels({
      blocks: view.blocks,
      camera: this.rig.camera,
      width,
      height,
      current_pos,
      tokens: store.tokens.peek(),
      step: store.history.get(current_pos),
      selection: store.selection.peek(),
      hovered: store.hovered.peek(),
      arcs: this.arc_targets,
      past_strength: this.past_strength,
    });
    this.labels.render(specs, SCENE_THEMES[store.theme.peek()].labels);
  }

  private hover(x: number, y: number): void {
    const component = this.pick_seen(x, y);
    const over_label = !component && this.labels.pos_at(x, y) !== null;
    this.canvas.style.cursor = component || over_label ? "pointer" : "grab";
    this.callbacks.on_hover(component, x, y);
  }

  private click(x: number, y: number, toggle: boolean): void {
    const pos = this.labels.pos_at(x, y);
    if (pos !== null) {
      this.callbacks.on_select_pos(pos);
      return;
    }
    const component = this.pick_seen(x, y);
    if (component && toggle) this.callbacks.on_toggle(component);
    else this.callbacks.on_select(component);
  }

  pick(x: number, y: number): Component | null {
    const { view } = this;
    if (!view) return null;
    const at = this.on_sheet(x, y);
    return at && component_at(view.blocks, at.x, at.y);
  }

  /** As `pick`, but of cells smaller than a pixel the one that the pixel shows: the loudest. */
  private pick_seen(x: number, y: number): Component | null {
    const { view } = this;
    const found = this.pick(x, y);
    if (!view || found?.kind !== "neuron") return found;
    const [here, beside] = [this.on_sheet(x, y)!, this.on_sheet(x + 1, y + 1)];
    const reach = beside ? Math.min(8, Math.max(Math.abs(beside.x - here.x), Math.abs(beside.y - here.y)) / view.blocks.cell / 2) : 0;
    if (reach < 0.6) return found;
    let [best, loudest] = [found, 0];
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const other = component_at(view.blocks, here.x + dx * view.blocks.cell, here.y + dy * view.blocks.cell);
        if (other?.kind !== "neuron") continue;
        const loud = Math.abs(view.sheet.code_of(other.layer, other.index));
        if (loud > loudest) [best, loudest] = [other, loud];
      }
    }
    return best;
  }

  /** Where the ray through a pixel meets the shown sheet's plane. */
  private on_sheet(x: number, y: number): { x: number; y: number } | null {
    const [width, height] = this.size;
    this.raycaster.setFromCamera(new Vector2((x / width) * 2 - 1, 1 - (y / height) * 2), this.rig.camera);
    const { origin, direction } = this.raycaster.ray;
    return meet_plane([origin.x, origin.y, origin.z], [direction.x, direction.y, direction.z], 0);
  }

  screen_position(component: Component, pos?: number): { x: number; y: number } | null {
    const rect = this.view && rect_of(this.view.blocks, component);
    if (!rect) return null;
    this.rig.camera.updateMatrixWorld();
    const z = pos === undefined ? 0 : z_of_age(this.store.current_pos.peek() - pos);
    const at = project([rect.x + rect.w / 2, rect.y + rect.h / 2, z], this.rig.camera, ...this.size);
    return at && { x: at.x, y: at.y };
  }

  set_view(preset: ViewPreset, animate = true): void {
    this.rig.set_view(preset, animate);
    this.request_redraw();
  }

  fit(): void {
    this.rig.fit();
    this.request_redraw();
  }

  focus(component: Component): void {
    const rect = this.view && rect_of(this.view.blocks, component);
    if (rect) this.rig.focus(rect);
    this.request_redraw();
  }

  orbit(d_azimuth: number, d_polar: number): void {
    this.rig.orbit(d_azimuth, d_polar);
    this.request_redraw();
  }

  pan(dx: number, dy: number): void {
    this.rig.pan(dx, dy);
    this.request_redraw();
  }

  zoom(factor: number): void {
    this.rig.zoom(factor);
    this.request_redraw();
  }

  stats(): SceneStats {
    const blocks = this.view?.blocks;
    return {
      draw_calls: this.renderer.info.render.calls,
      last_update_ms: this.times.last_ms,
      update_ms_median: this.times.median_ms(),
      frames: this.frames,
      context_losses: this.context_losses,
      n_cells: blocks ? blocks.n_layers * (blocks.d_mlp + blocks.n_heads) : 0,
    };
  }

  legend(): LegendSpec {
    const { store } = this;
    const step = store.history.get(store.current_pos.peek());
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
    cancelAnimationFrame(this.frame_request);
    clearTimeout(this.rest_timer);
    // Never again: a redraw asked for by a late event finds a request already pending.
    this.frame_request = -1;
    for (const dispose of this.disposers) dispose();
    this.view?.dispose();
    this.arcs.dispose();
    this.marks.dispose();
    this.rig.dispose();
    this.labels.dispose();
    this.renderer.dispose();
    this.canvas.remove();
  }
}
