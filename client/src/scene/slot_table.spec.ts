import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Pace } from "./pace";
import { SlotTable } from "./slot_table";
import { UpdateTimes } from "./update_times";

describe("SlotTable", () => {
  it("never gives one part of the buffer to two shown tokens, and never moves a token that stays shown", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 80 }), (currents) => {
        const table = new SlotTable(10);
        let before = new Map<number, number>();
        for (const current of currents) {
          const shown = [...Array(8).keys()].map((age) => current - age).filter((pos) => pos >= 0);
          const now = new Map(shown.map((pos) => [pos, table.claim(pos, [pos], new Set(shown))!]));
          expect([...now.values()].every((slot) => slot !== null && slot >= 0 && slot < 10)).toBe(true);
          expect(new Set(now.values()).size).toBe(shown.length);
          for (const [pos, slot] of now) if (before.has(pos)) expect(slot).toBe(before.get(pos));
          before = now;
        }
      }),
    );
  });

  it("holds what was claimed from the very same arrays, and forgets", () => {
    const table = new SlotTable(2);
    const values = new Int8Array(3);
    table.claim(5, ["activation", values], new Set([5]));
    expect(table.holds(5, ["activation", values])).toBe(true);
    expect(table.holds(5, ["activation", new Int8Array(3)])).toBe(false);
    expect(table.holds(5, ["direct_logit", values])).toBe(false);
    table.forget(5);
    expect(table.holds(5, ["activation", values])).toBe(false);
  });

  it("has no place when every part is taken by a shown token", () => {
    const table = new SlotTable(2);
    const shown = new Set([1, 2, 3]);
    expect([1, 2, 3].map((pos) => table.claim(pos, [], shown))).toEqual([0, 1, null]);
  });
});

describe("Pace", () => {
  it("gives way while frames come late, recovers when they come early, and rests in full", () => {
    const pace = new Pace();
    for (let i = 0; i < 60; i++) pace.moving(90);
    expect(pace.moving(90)).toMatchObject({ soft: false, resolution: 0.55 });
    for (let i = 0; i < 400; i++) pace.moving(8);
    expect(pace.moving(8)).toEqual(pace.resting);
    expect(pace.resting).toEqual({ soft: true, resolution: 1 });
  });

  it("does not take a pause for a slow frame", () => {
    const pace = new Pace();
    for (let i = 0; i < 20; i++) pace.moving(5000);
    expect(pace.moving(5000)).toEqual(pace.resting);
  });
});

describe("UpdateTimes", () => {
  it("tells the last and the median", () => {
    const times = new UpdateTimes();
    expect([times.last_ms, times.median_ms()]).toEqual([0, 0]);
    for (const ms of [9, 1, 2]) times.add(ms);
    expect([times.last_ms, times.median_ms()]).toEqual([2, 2]);
  });
});
