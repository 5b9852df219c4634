import { describe, expect, it } from "vitest";
import { nearest_place, TOKEN_REACH_PX, turn_controls, turn_of } from "./turn_arc";

describe("an arc from token to token", () => {
  it("begins and ends at its tokens and stands above both, the higher the farther they are", () => {
    const height = (z: number): number => turn_controls([0, 0, 0], [0, 0, z])[1][1];
    const [from, , , to] = turn_controls([0, 1, 0], [0, 1, -3]);
    expect([from, to]).toEqual([[0, 1, 0], [0, 1, -3]]);
    expect(height(-6)).toBeGreaterThan(height(-1));
    expect(height(-1)).toBeGreaterThan(0);
  });

  it("is meant for the nearest token within reach", () => {
    const places = [{ x: 0, y: 0 }, null, { x: 30, y: 0 }];
    expect(nearest_place(places, 20, 0)).toBe(2);
    expect(nearest_place(places, 2, 3)).toBe(0);
    expect(nearest_place(places, 30, TOKEN_REACH_PX + 1)).toBeNull();
  });

  it("lets the later token look at the earlier, whichever it began at", () => {
    expect(turn_of(7, 3)).toEqual({ query: 7, key: 3 });
    expect(turn_of(3, 7)).toEqual({ query: 7, key: 3 });
    expect(turn_of(3, 3)).toBeNull();
  });
});
