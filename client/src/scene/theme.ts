// The scene's colours for the two themes; data colours come from layout/colour.ts.
import { parse_hex } from "../layout/colour";
import picture from "../layout/picture.json";
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
    ...picture.ground.dark,
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
    ...picture.ground.light,
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
