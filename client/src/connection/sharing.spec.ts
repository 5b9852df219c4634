// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { DecodedEvent } from "../protocol/decode";
import { create_store, type Store } from "../store/store";
import { Refusal } from "./requests";
import { page_share_key, share_view, type SharingLine } from "./sharing";

const KEY = "a-key-that-nobody-guesses";
const HEAD = { kind: "head", layer: 1, index: 0 } as const;

function world(): { store: Store; line: SharingLine; say: (event: DecodedEvent) => void; end: () => void } {
  const store = create_store();
  const listeners: ((event: DecodedEvent) => void)[] = [];
  const line: SharingLine = {
    on_event: (listener) => listeners.push(listener),
    is_going_to: (run_id) => run_id === "watched",
    watch_run: vi.fn(() => Promise.resolve()),
    share_view: vi.fn(() => Promise.resolve()),
    set_selection: vi.fn(() => Promise.resolve()),
  };
  store.own_viewer_ids.value = ["me"];
  const end = share_view(store, line, KEY);
  return { store, line, say: (event) => listeners.forEach((listener) => listener(event)), end };
}

const selected = (component: typeof HEAD | null, pos: number | null, author = "view"): DecodedEvent =>
  ({ type: "selection_changed", component, pos, author, request_id: null });

describe("sharing a view", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("shares whenever the line is open, and tells what was selected, the last of a burst", async () => {
    const { store, line } = world();
    expect(line.share_view).not.toHaveBeenCalled();
    store.connection.value = "open";
    expect(line.share_view).toHaveBeenCalledWith(KEY);
    await vi.advanceTimersByTimeAsync(200);
    expect(line.set_selection).not.toHaveBeenCalled(); // nothing was selected
    store.selection.value = { ...HEAD, index: 1 };
    store.selection.value = HEAD;
    await vi.advanceTimersByTimeAsync(200);
    expect(vi.mocked(line.set_selection).mock.calls).toEqual([[HEAD, null]]);
    store.connection.value = "connecting";
    store.connection.value = "open";
    expect(line.share_view).toHaveBeenCalledTimes(2);
  });

  it("follows a selection without saying it again, and not its own", async () => {
    const { store, line, say } = world();
    store.connection.value = "open";
    await vi.advanceTimersByTimeAsync(0);
    say(selected(HEAD, null));
    expect(store.selection.value).toEqual(HEAD);
    say(selected(null, null, "me"));
    expect(store.selection.value).toEqual(HEAD);
    await vi.advanceTimersByTimeAsync(300);
    expect(line.set_selection).not.toHaveBeenCalled();
    say(selected(null, null));
    expect(store.selection.value).toBeNull();
  });

  it("goes along to a run, unless it is there; one that is gone says nothing", async () => {
    const { line, say, store } = world();
    say({ type: "run_shared", run_id: "watched", author: "view" });
    expect(line.watch_run).not.toHaveBeenCalled();
    vi.mocked(line.watch_run).mockRejectedValueOnce(new Refusal("run_unknown", "gone"));
    say({ type: "run_shared", run_id: "other", author: "view" });
    await vi.advanceTimersByTimeAsync(0);
    expect(line.watch_run).toHaveBeenCalledWith("other", true);
    expect(store.notices.value).toEqual([]);
  });

  it("ends", async () => {
    const { store, line, end } = world();
    store.connection.value = "open";
    end();
    store.selection.value = HEAD;
    await vi.advanceTimersByTimeAsync(200);
    expect(line.set_selection).not.toHaveBeenCalled();
  });
});

describe("the key of a page", () => {
  it("is taken out of the address, kept over a reload, and is none where it is not one", () => {
    history.replaceState(null, "", `/frame/x/#share=${KEY}&run=abc`);
    expect(page_share_key()).toBe(KEY);
    expect(location.hash).toBe("#run=abc");
    expect(page_share_key()).toBe(KEY);
    history.replaceState(null, "", "/other/#share=short");
    expect(page_share_key()).toBeNull();
    expect(location.hash).toBe("");
  });
});
