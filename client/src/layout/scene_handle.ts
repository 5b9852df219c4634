// What the rest of the page may ask of the picture, and what the picture tells it: the contract between scene/,
// which fulfils it, and ui/ and main, which do not know that three.js is behind it.
import type { Component } from "../protocol/generated";
import type { ViewPreset } from "../store/types";
import type { LegendSpec } from "./legend";

export interface SceneStats {
  /** Of the last frame. */
  draw_calls: number;
  /** Main-thread time of the last frame that brought new values, and the median of the last 120 of them. */
  last_update_ms: number;
  update_ms_median: number;
  frames: number;
  context_losses: number;
  n_cells: number;
}

/** Where the camera is: a view by its name, or once the person has moved it, position and target. */
export interface CameraPlace {
  preset: ViewPreset;
  pose: readonly [number, number, number, number, number, number] | null;
}

/** The picture as it changes, for a film. */
export interface Film {
  stream: MediaStream;
  stop(): void;
}

export interface SceneHandle {
  dispose(): void;
  set_view(preset: ViewPreset, animate?: boolean): void;
  /** The shown layers of the model, from where the person is looking. */
  fit(): void;
  /** Bring a component near. */
  focus(component: Component): void;
  /** Radians. */
  orbit(d_azimuth: number, d_polar: number): void;
  /** CSS pixels. */
  pan(dx: number, dy: number): void;
  /** Above 1 goes nearer. */
  zoom(factor: number): void;
  /** The middle of a component on the sheet of `pos` (default: the one shown), CSS pixels in the canvas. */
  screen_position(component: Component, pos?: number): { x: number; y: number } | null;
  /** The middle of a node of attribution (`L12H3@37`), CSS pixels in the canvas. */
  node_position(node: string): { x: number; y: number } | null;
  /** The node of the shown attribution paths under CSS pixels in the canvas. */
  pick_node(x: number, y: number): string | null;
  /** The middle of a token's label, or where it would hang, CSS pixels in the canvas; null for one still to come. */
  token_position(pos: number): { x: number; y: number } | null;
  /** A point of a token's path of the residual stream, 0 before layer 0, CSS pixels in the canvas; null: not drawn. */
  stream_position(pos: number, point: number): { x: number; y: number } | null;
  /** The component under CSS pixels in the canvas. */
  pick(x: number, y: number): Component | null;
  camera(): CameraPlace;
  set_camera(place: CameraPlace): void;
  /** The camera has come to rest elsewhere. */
  on_camera(listener: () => void): () => void;
  /** The picture as it stands with its labels and legend, `scale` pixels to a CSS pixel (fewer where it would be huge). */
  still(scale: number): HTMLCanvasElement;
  film(frames_per_second: number): Film;
  stats(): SceneStats;
  /** What brightness means now. */
  legend(): LegendSpec;
  on_legend(listener: () => void): () => void;
  request_redraw(): void;
}

export interface SceneCallbacks {
  on_error(message: string): void;
  on_select(component: Component | null): void;
  on_hover(component: Component | null, x: number, y: number): void;
  on_select_pos(pos: number): void;
  /** A node, or a line, of the shown attribution paths. */
  on_select_node(node: string): void;
  /** Alt, Ctrl or Cmd with a click: switch the component off or on. */
  on_toggle(component: Component): void;
  /** Can attention be turned? Then an arc may be dragged from one token's label to another. */
  can_turn(): boolean;
  /** The token at `query` is to look at the one at `key`. */
  on_turn(query: number, key: number): void;
}
