import { describe, expect, it } from "vitest";
import { colour_at, colour_map, css_stops, luminance } from "./colour";

const shares = Array.from({ length: 101 }, (_, i) => i / 100);

describe("colour maps", () => {
  it("sequential: lighter with every step on a dark ground, darker on a light one", () => {
    const steps = (theme: "dark" | "light"): number[] => shares.map((at) => luminance(colour_at("activation", theme, at)));
    const [dark, light] = [steps("dark"), steps("light")];
    for (let i = 1; i < shares.length; i++) {
      expect(dark[i]!).toBeGreaterThan(dark[i - 1]!);
      expect(light[i]!).toBeLessThan(light[i - 1]!);
    }
    expect(dark.at(-1)! - dark[0]!).toBeGreaterThan(0.8);
  });

  it("diverging: zero is nearest the ground, both sides grow from it", () => {
    for (const [theme, sign] of [["dark", 1], ["light", -1]] as const) {
      const value = (at: number): number => sign * luminance(colour_at("direct_logit", theme, at));
      for (let i = 1; i <= 50; i++) {
        expect(value(0.5 + i / 100)).toBeGreaterThan(value(0.5 + (i - 1) / 100));
        expect(value(0.5 - i / 100)).toBeGreaterThan(value(0.5 - (i - 1) / 100));
      }
    }
  });

  it("diverging: the sides differ in blue against red, which every kind of colour-blind eye tells apart", () => {
    for (const theme of ["dark", "light"] as const) {
      for (const size of [0.2, 0.5, 0.8]) {
        const [r, , b] = colour_at("direct_logit", theme, 0.5 - size / 2);
        const [r2, , b2] = colour_at("direct_logit", theme, 0.5 + size / 2);
        expect(b - r).toBeGreaterThan(15);
        expect(r2 - b2).toBeGreaterThan(15);
      }
    }
  });

  it("the table that the shader reads is the map itself, and the legend's stops are its stops", () => {
    const map = colour_map("activation", "dark");
    expect(map.diverging).toBe(false);
    for (const i of [0, 17, 128, 255]) {
      const rgb = colour_at("activation", "dark", i / 255).map(Math.round);
      expect([...map.lut.slice(i * 4, i * 4 + 4)]).toEqual([...rgb, 255]);
    }
    const stops = css_stops("direct_logit", "light");
    expect(stops[0]!.at).toBe(0);
    expect(stops.at(-1)!.at).toBe(1);
    expect(stops.every((stop, i) => i === 0 || stop.at > stops[i - 1]!.at)).toBe(true);
  });
});
