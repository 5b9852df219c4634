// The canvas and how finely it is drawn: its size, a lost context, and the quality given up while a slow machine turns.
import type { WebGLRenderer } from "three";
import { Pace, type Quality } from "./pace";
import { create_renderer } from "./webgl";

/** Stillness after which a picture drawn in haste is drawn in full. */
const REST_MS = 140;
/** Of a picture that is saved, pixels: what every WebGL2 draws. */
const MAX_SIDE = 8192;

export interface SurfaceListener {
  /** CSS pixels. */
  resized(width: number, height: number): void;
  /** Device pixels, and how many of them a CSS pixel has. */
  resolution(width: number, height: number, pixel_ratio: number): void;
  soft(soft: boolean): void;
  /** The GPU has forgotten everything. */
  restored(): void;
  redraw(): void;
}

export class Surface {
  readonly canvas = document.createElement("canvas");
  readonly renderer: WebGLRenderer;
  /** CSS pixels. */
  size: readonly [number, number] = [1, 1];
  is_lost = false;
  context_losses = 0;
  private readonly pace = new Pace();
  private quality: Quality = this.pace.resting;
  private rest_timer = 0;
  private drawn_at = "";
  private readonly abort = new AbortController();
  private observer: ResizeObserver | null = null;
  private listener: SurfaceListener | null = null;

  /** Throws WebGLUnavailableError when there is no WebGL2. */
  constructor(
    private readonly container: HTMLElement,
    on_error: (message: string) => void,
  ) {
    Object.assign(this.canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", display: "block", touchAction: "none" });
    this.renderer = create_renderer(this.canvas, on_error);
    container.append(this.canvas);
  }

  /** Follow the container's size and the context's fate from now on. */
  watch(listener: SurfaceListener): void {
    this.listener = listener;
    const { signal } = this.abort;
    this.canvas.addEventListener(
      "webglcontextlost",
      (event) => {
        event.preventDefault();
        this.is_lost = true;
        this.context_losses++;
      },
      { signal },
    );
    this.canvas.addEventListener(
      "webglcontextrestored",
      () => {
        this.is_lost = false;
        listener.restored();
      },
      { signal },
    );
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.container);
    this.resize();
  }

  /** Take the container's size and tell everyone who draws by it. */
  resize(): void {
    const width = Math.max(1, this.container.clientWidth);
    const height = Math.max(1, this.container.clientHeight);
    this.size = [width, height];
    this.listener?.resized(width, height);
    this.set_resolution(this.quality.resolution);
    this.listener?.redraw();
  }

  private set_resolution(share: number): void {
    const [width, height] = this.size;
    const pixel_ratio = Math.min(window.devicePixelRatio || 1, 2) * share;
    const drawn_at = `${width} ${height} ${pixel_ratio}`;
    // Setting a canvas's size allocates it anew, even where it stays the same.
    if (drawn_at !== this.drawn_at) {
      this.renderer.setPixelRatio(pixel_ratio);
      this.renderer.setSize(width, height, false);
      this.drawn_at = drawn_at;
    }
    this.listener?.resolution(width * pixel_ratio, height * pixel_ratio, pixel_ratio);
  }

  private set_quality(quality: Quality): void {
    if (quality === this.quality) return;
    if (quality.resolution !== this.quality.resolution) this.set_resolution(quality.resolution);
    this.listener?.soft(quality.soft);
    this.quality = quality;
  }

  /** A frame is about to be drawn, `interval_ms` after the one before, by a camera that moves or not. */
  begin_frame(is_moving: boolean, interval_ms: number): void {
    if (is_moving) this.set_quality(this.pace.moving(interval_ms));
    this.rest_soon();
  }

  /** Draw in full once nothing has moved for a moment: a drag pauses between two events. */
  private rest_soon(): void {
    clearTimeout(this.rest_timer);
    if (this.quality === this.pace.resting) return;
    this.rest_timer = window.setTimeout(() => {
      this.set_quality(this.pace.resting);
      this.listener?.redraw();
    }, REST_MS);
  }

  /** Draw once with `scale` pixels to a CSS pixel, then go on as before; `draw` must take what it wants of the canvas. */
  at_scale(scale: number, draw: (scale: number) => void): void {
    const [width, height] = this.size;
    const fitting = Math.min(scale, MAX_SIDE / Math.max(width, height));
    this.renderer.setPixelRatio(fitting);
    this.renderer.setSize(width, height, false);
    this.listener?.resolution(width * fitting, height * fitting, fitting);
    try {
      draw(fitting);
    } finally {
      this.drawn_at = "";
      this.set_resolution(this.quality.resolution);
      this.listener?.redraw();
    }
  }

  dispose(): void {
    clearTimeout(this.rest_timer);
    this.observer?.disconnect();
    this.abort.abort();
    this.renderer.dispose();
    this.canvas.remove();
  }
}
