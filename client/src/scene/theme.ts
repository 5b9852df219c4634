// The scene's colours for the two themes; data colours come from layout/colour.ts.
import { parse_hex } from "../layout/colour";
import type { Theme } from "../store/types";
import type { LabelColours } from "./label_layer";

export interface SceneTheme {
  background: string;
  panel: string;
  disc: string;
  tab: string;
  odd: string;
  spine: string;
  node: string;
  rail: string;
  accent: string;
  hover: string;
  ablated: string;
  glow: number;
  labels: LabelColours;
}

export const SCENE_THEMES: Record<Theme, SceneTheme> = {
  dark: {
    background: "#05070d",
    panel: "#03050c",
    disc: "#24345e",
    tab: "#141d35",
    odd: "#ff2f92",
    spine: "#8fa6e6",
    node: "#eef4ff",
    rail: "#31415f",
    accent: "#ffab4a",
    hover: "#dfe9ff",
    ablated: "#ff5d73",
    glow: 1,
    labels: {
      text: "#e4eaf8",
      faint: "#93a4c8",
      chip: "rgba(38,46,68,0.82)",
      accent: "#ffbf73",
      accent_text: "#241303",
      now: "#3566d6",
      now_text: "#ffffff",
      halo: "#05070d",
    },
  },
  light: {
    background: "#f7f8fb",
    panel: "#edf0f5",
    disc: "#b3bfd2",
    tab: "#d5dce8",
    odd: "#c4006a",
    spine: "#5570b8",
    node: "#23408f",
    rail: "#b8c2d6",
    accent: "#c25e00",
    hover: "#26324d",
    ablated: "#c0172f",
    glow: 0,
    labels: {
      text: "#1f2940",
      faint: "#54627e",
      chip: "rgba(222,228,239,0.92)",
      accent: "#a04a00",
      accent_text: "#ffffff",
      now: "#2b57c4",
      now_text: "#ffffff",
      halo: "#f7f8fb",
    },
  },
};

/** A CSS hex colour as shader floats. */
export function rgb_floats(hex: string): readonly [number, number, number] {
  let floats = FLOATS.get(hex);
  if (!floats) {
    const [r, g, b] = parse_hex(hex);
    floats = [r / 255, g / 255, b / 255];
    FLOATS.set(hex, floats);
  }
  return floats;
}

/** The themes' own few colours. */
const FLOATS = new Map<string, readonly [number, number, number]>();
