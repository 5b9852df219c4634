// What the page asks of the picture. The scene fulfils it; the page does not know three.js is behind it.
import type { LegendSpec } from "../layout/legend";
import type { Component } from "../protocol/generated";
import type { ViewPreset } from "../store/types";

export interface SceneView {
  dispose(): void;
  set_view(preset: ViewPreset, animate?: boolean): void;
  fit(): void;
  focus(component: Component): void;
  orbit(d_azimuth: number, d_polar: number): void;
  pan(dx: number, dy: number): void;
  zoom(factor: number): void;
  legend(): LegendSpec;
  on_legend(listener: () => void): () => void;
}

export interface SceneCallbacks {
  on_error(message: string): void;
  on_select(component: Component | null): void;
  on_hover(component: Component | null, x: number, y: number): void;
  on_select_pos(pos: number): void;
  on_toggle(component: Component): void;
}

/** Put the picture into `container`; rejects where the browser cannot draw it. */
export type SceneMount = (container: HTMLElement, callbacks: SceneCallbacks) => Promise<SceneView>;
