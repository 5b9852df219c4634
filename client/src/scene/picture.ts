// What is drawn and when: everything that a frame is made of, brought up to date and put on the screen.
import { Scene } from "three";
import type { Blocks } from "../layout/blocks";
import { colour_map } from "../layout/colour";
import type { ModelInfo } from "../protocol/generated";
import { drawn_file, drawn_text } from "../store/drawn_text";
import { explained_step, shown_colours } from "../store/explained";
import { peek_shown_layers, type LayerRange } from "../store/layer_range";
import type { Store } from "../store/store";
import { CameraRig } from "./camera_rig";
import { advance_secs, Frames } from "./frames";
import { LabelLayer } from "./label_layer";
import { ModelView } from "./model_view";
import { Overlays } from "./overlays";
import { SceneLabels } from "./scene_labels";
import { ALL_DIRTY, type Dirty } from "./store_watch";
import { Surface } from "./surface";
import { SCENE_THEMES } from "./theme";
import { UpdateTimes } from "./update_times";

export interface PictureListener {
  on_error(message: string): void;
  /** The camera has stopped moving. */
  rested(): void;
  /** The values that brightness stands for have changed. */
  rescaled(): void;
}

/** A frame brings up so many earlier tokens; a still has them all. */
const MAX_STILL_PASSES = 200;

export class Picture {
  readonly surface: Surface;
  readonly rig: CameraRig;
  readonly label_layer: LabelLayer;
  readonly times = new UpdateTimes();
  readonly frames = new Frames((interval_ms) => this.frame(interval_ms));
  view: ModelView | null = null;
  private readonly scene = new Scene();
  readonly overlays: Overlays;
  private readonly labels = new SceneLabels();
  private readonly dirty = new Set<Dirty>(ALL_DIRTY);
  private readonly frame_listeners = new Set<() => void>();
  private was_moving = false;

  /** Throws WebGLUnavailableError when there is no WebGL2. */
  constructor(
    container: HTMLElement,
    private readonly store: Store,
    private readonly listener: PictureListener,
  ) {
    this.surface = new Surface(container, (message) => listener.on_error(message));
    this.label_layer = new LabelLayer(container);
    this.rig = new CameraRig(this.surface.canvas, () => this.frames.ask());
    this.overlays = new Overlays(store);
    // Nothing in the scene is ever moved: places are written into the geometry.
    this.scene.matrixWorldAutoUpdate = false;
    this.scene.add(...this.overlays.meshes);
    this.watch_surface();
  }

  mark_dirty(...what: readonly Dirty[]): void {
    for (const one of what) this.dirty.add(one);
    this.frames.ask();
  }

  private watch_surface(): void {
    this.surface.watch({
      resized: (width, height) => this.rig.resize(width, height),
      resolution: (width, height, pixel_ratio) => {
        this.view?.set_viewport(width, height);
        this.overlays.set_viewport(width, height, pixel_ratio);
      },
      soft: (soft) => this.view?.sheet.set_soft(soft),
      restored: () => {
        // Everything on the GPU comes again from the CPU copies.
        this.view?.restore();
        this.mark_dirty(...ALL_DIRTY);
      },
      redraw: () => this.frames.ask(),
    });
  }

  set_model(info: ModelInfo | null): void {
    this.view?.dispose();
    this.view = null;
    if (info) {
      try {
        this.view = new ModelView(info, this.scene);
        this.rig.set_blocks(this.view.blocks);
        this.set_layer_range(peek_shown_layers(this.store));
      } catch (error) {
        this.listener.on_error(`This model cannot be drawn: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    this.surface.resize();
    this.mark_dirty(...ALL_DIRTY);
  }

  /** Only these layers are drawn; a camera that nobody has moved frames them. */
  set_layer_range(range: LayerRange | null): void {
    this.view?.set_layer_range(range);
    this.rig.set_layer_range(range);
    this.mark_dirty("marks", "arcs", "paths", "stream", "causal");
  }

  /** Draw once; true where another frame must follow. */
  private frame(interval_ms: number): boolean {
    if (this.surface.is_lost) return false;
    const from = performance.now();
    const moving = this.rig.update(advance_secs(interval_ms));
    this.surface.begin_frame(moving, interval_ms);
    const { wrote, more } = this.bring_up();
    this.draw();
    this.draw_labels();
    this.frames.n_drawn++;
    if (wrote) this.times.add(performance.now() - from);
    for (const listener of this.frame_listeners) listener();
    if (this.was_moving && !moving) this.listener.rested();
    this.was_moving = moving;
    return moving || more;
  }

  /** Call back after each frame, while what was drawn is there to be read, until the returned function is called. */
  after_frame(listener: () => void): () => void {
    this.frame_listeners.add(listener);
    return () => this.frame_listeners.delete(listener);
  }

  /** Draw with `scale` pixels to a CSS pixel, and let `take` have what was drawn. */
  draw_still(scale: number, take: (scale: number) => void): void {
    this.rig.update(0);
    this.surface.at_scale(scale, (fitting) => {
      for (let passes = 0; passes < MAX_STILL_PASSES && this.bring_up().more; passes++);
      this.draw();
      this.draw_labels();
      take(fitting);
    });
  }

  get blocks(): Blocks | null {
    return this.view?.blocks ?? null;
  }

  private bring_up(): { wrote: boolean; more: boolean } {
    const { store, view } = this;
    const theme = SCENE_THEMES[store.theme.peek()];
    const channel = store.display_channel.peek();
    const { history, current_pos: current } = drawn_text(store);
    if (this.dirty.delete("colours")) {
      this.surface.renderer.setClearColor(theme.background, 1);
      this.overlays.set_theme(theme, store.theme.peek());
      view?.set_colours(theme, colour_map(shown_colours(store), store.theme.peek()));
    }
    let changed = { wrote: false, more: false };
    if (view && this.dirty.delete("values")) {
      changed = view.bring_up(history, current, channel, theme, (step) => explained_step(store, step));
      if (changed.more) this.dirty.add("values");
      if (shown_colours(store) !== "activation" && changed.wrote) this.listener.rescaled();
    }
    if (this.dirty.delete("marks")) this.overlays.update_marks(this.blocks);
    if (this.dirty.delete("causal")) this.overlays.causal.update(drawn_file(store) ? null : this.blocks);
    if (this.dirty.delete("paths")) this.overlays.update_paths(this.blocks);
    if (this.dirty.delete("stream")) {
      this.overlays.stream.update(drawn_file(store) ? null : this.blocks);
      if (this.rig.make_room(this.overlays.stream.corners)) changed = { ...changed, more: true };
    }
    if (this.dirty.delete("arcs")) this.overlays.update_arcs(this.blocks);
    view?.place(current, this.past_strength);
    return changed;
  }

  /** Looking straight at the sheet gives a flat, exact heat map: what lies behind is left out. */
  private get past_strength(): number {
    return 1 - Math.min(1, Math.max(0, (this.rig.frontality - 0.985) / 0.012));
  }

  private draw(): void {
    const { renderer } = this.surface;
    renderer.info.reset();
    this.view?.sheet.before_render(renderer);
    renderer.clear();
    renderer.render(this.scene, this.rig.camera);
  }

  private draw_labels(): void {
    const { store, blocks } = this;
    const colours = SCENE_THEMES[store.theme.peek()].labels;
    if (!blocks) {
      this.label_layer.render([], colours);
      return;
    }
    const [width, height] = this.surface.size;
    const { history, tokens, current_pos } = drawn_text(store);
    const specs = this.labels.collect({
      blocks,
      layer_range: peek_shown_layers(store),
      camera: this.rig.camera,
      width,
      height,
      current_pos,
      tokens,
      step: explained_step(store, history.get(current_pos)),
      selection: store.selection.peek(),
      hovered: store.hovered.peek(),
      arcs: this.overlays.arc_targets,
      turn: this.overlays.turn,
      path_nodes: this.overlays.paths.marks,
      path_tokens: this.overlays.paths.tokens,
      past_strength: this.past_strength,
      placed: this.overlays.stream.labels,
      pointed: this.overlays.stream.hover_label,
    });
    this.label_layer.render(specs, colours);
  }

  dispose(): void {
    this.frames.dispose();
    this.view?.dispose();
    this.overlays.dispose();
    this.rig.dispose();
    this.label_layer.dispose();
    this.surface.dispose();
  }
}
