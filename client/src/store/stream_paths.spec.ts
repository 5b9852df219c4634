import { describe, expect, it } from "vitest";
import type { StreamPcaAnswer } from "../protocol/questions";
import { create_store } from "./store";
import { chosen_paths, stream_answer } from "./stream_paths";

describe("whose paths are drawn", () => {
  it("is what was pinned, in that order, and the shown token on top", () => {
    expect(chosen_paths([5, 2], 7, 9, 16)).toEqual([
      { pos: 5, order: 1, is_current: false }, { pos: 2, order: 2, is_current: false }, { pos: 7, order: 0, is_current: true },
    ]);
  });

  it("keeps a pinned token's colour while it is the shown one", () => {
    expect(chosen_paths([5, 2], 5, 9, 16)).toEqual([
      { pos: 2, order: 2, is_current: false }, { pos: 5, order: 1, is_current: true },
    ]);
  });

  it("leaves out tokens that the answer does not hold, and more than can be told apart", () => {
    expect(chosen_paths([5, 1], 8, 4, 16)).toEqual([{ pos: 1, order: 2, is_current: false }]);
    expect(chosen_paths([0, 1, 2], 3, 4, 2).map(({ pos }) => pos)).toEqual([0, 1, 3]);
    expect(chosen_paths([], -1, 4, 2)).toEqual([]);
  });
});

describe("the answer that is drawn", () => {
  it("is of the run and the revision that are shown, or there is none", () => {
    const store = create_store();
    const answer = { run_id: "a" } as unknown as StreamPcaAnswer;
    store.stream.inquiry.slot.value = { progress: null, answer, error: null };
    store.stream.asked.value = { run_id: "a", revision: 1 };
    expect(stream_answer(store)).toBeNull();
    const run = { run_id: "a", revision: 1 } as unknown as NonNullable<typeof store.run.value>;
    store.run.value = run;
    expect(stream_answer(store)).toBe(answer);
    store.run.value = { ...run, revision: 2 };
    expect(stream_answer(store)).toBeNull();
    store.run.value = { ...run, run_id: "b" };
    expect(stream_answer(store)).toBeNull();
  });

  it("is toggled token by token", () => {
    const { stream } = create_store();
    stream.toggle(4);
    stream.toggle(2);
    stream.toggle(4);
    expect(stream.pinned.value).toEqual([2]);
  });
});
