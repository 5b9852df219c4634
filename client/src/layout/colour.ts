// Colour maps: sequential for sizes, diverging for signed contributions; monotone in lightness and safe for
// colour-blind eyes. On a dark ground loud is light, on a light ground loud is dark. Of diverging ones the negative
// side comes first: blue takes away, orange adds, as in the arcs. The stops are the notebook's too (picture.json).
import type { DisplayChannel, Theme } from "../store/types";
import picture from "./picture.json";

export type Rgb = readonly [number, number, number];
interface Stop {
  at: number;
  colour: string;
}

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
    if (at <= upper.at) {
      const t = upper.at === lower.at ? 0 : (at - lower.at) / (upper.at - lower.at);
      const [a, b] = [parse_hex(lower.colour), parse_hex(upper.colour)];
      return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
    }
    lower = upper;
  }
  return parse_hex(lower.colour);
}

function stops_of(channel: DisplayChannel, theme: Theme): readonly Stop[] {
  return (channel === "activation" ? picture.colours.sequential : picture.colours.diverging)[theme];
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
  return stops_of(channel, theme).map(({ at, colour }) => ({ at, css: colour }));
}
