// Colour maps: sequential for sizes, diverging for signed contributions; monotone in lightness and safe for
// colour-blind eyes. On a dark ground loud is light, on a light ground loud is dark.
import type { DisplayChannel, Theme } from "../store/types";

export type Rgb = readonly [number, number, number];
type Stop = readonly [at: number, hex: string];

const SEQUENTIAL: Record<Theme, readonly Stop[]> = {
  dark: [
    [0, "#070b18"],
    [0.12, "#081230"],
    [0.28, "#10305f"],
    [0.45, "#166690"],
    [0.6, "#2ba79b"],
    [0.74, "#9ed67a"],
    [0.87, "#fbe77b"],
    [1, "#ffffff"],
  ],
  light: [
    [0, "#eef2f8"],
    [0.14, "#d9e6ee"],
    [0.3, "#9fd0cf"],
    [0.5, "#3f9fb0"],
    [0.7, "#1f62a0"],
    [0.86, "#2a2f7c"],
    [1, "#220a3c"],
  ],
};

// Negative side first: blue takes away, orange adds, as in the arcs.
const DIVERGING: Record<Theme, readonly Stop[]> = {
  dark: [
    [0, "#d3ebff"],
    [0.15, "#6cb5ff"],
    [0.32, "#1f66b8"],
    [0.44, "#0d2748"],
    [0.5, "#0a0d16"],
    [0.56, "#3f210b"],
    [0.68, "#b3590f"],
    [0.85, "#ffa548"],
    [1, "#fff0d6"],
  ],
  light: [
    [0, "#08244f"],
    [0.15, "#1b57a3"],
    [0.32, "#6aa5da"],
    [0.44, "#cfe0ef"],
    [0.5, "#f1f3f6"],
    [0.56, "#f7dfc4"],
    [0.68, "#e69b4b"],
    [0.85, "#a9560c"],
    [1, "#4f2300"],
  ],
};

export interface ColourMap {
  diverging: boolean;
  /** RGBA bytes, 256 entries from the map's lower to its upper end. */
  lut: Uint8Array;
}

export function parse_hex(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** Relative luminance of an sRGB colour, 0..1. */
export function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((byte) => Math.pow(byte / 255, 2.2)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function sample(stops: readonly Stop[], at: number): Rgb {
  let lower = stops[0]!;
  for (const upper of stops) {
    if (at <= upper[0]) {
      const t = upper[0] === lower[0] ? 0 : (at - lower[0]) / (upper[0] - lower[0]);
      const [a, b] = [parse_hex(lower[1]), parse_hex(upper[1])];
      return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
    }
    lower = upper;
  }
  return parse_hex(lower[1]);
}

function stops_of(channel: DisplayChannel, theme: Theme): readonly Stop[] {
  return channel === "activation" ? SEQUENTIAL[theme] : DIVERGING[theme];
}

/** The colour at `at` in 0..1 (for the diverging map 0.5 is zero). */
export function colour_at(channel: DisplayChannel, theme: Theme, at: number): Rgb {
  return sample(stops_of(channel, theme), Math.min(1, Math.max(0, at)));
}

export function colour_map(channel: DisplayChannel, theme: Theme): ColourMap {
  const lut = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i++) {
    const rgb = colour_at(channel, theme, i / 255);
    lut.set([Math.round(rgb[0]), Math.round(rgb[1]), Math.round(rgb[2]), 255], i * 4);
  }
  return { diverging: channel !== "activation", lut };
}

/** The map's own stops as CSS colours, for a legend's gradient. */
export function css_stops(channel: DisplayChannel, theme: Theme): { at: number; css: string }[] {
  return stops_of(channel, theme).map(([at, css]) => ({ at, css }));
}
