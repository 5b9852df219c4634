// How far a scroller is scrolled along one axis, and how much of it is seen.
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

export interface Scrolled {
  /** Pixels scrolled past. */
  at: number;
  /** Pixels seen, less what keeps its place. */
  seen: number;
}

/** Room for what scrolls, pixels: `kept` is what a header or first columns that stay hide. */
export const room_in = (element: HTMLElement, axis: "x" | "y", kept: number): number =>
  Math.max(0, (axis === "x" ? element.clientWidth : element.clientHeight) - kept);

/** Re-renders the caller when its scroller is scrolled or resized along `axis`, and for nothing else. */
export function use_scrolled(scroller: RefObject<HTMLElement | null>, axis: "x" | "y", kept: number): Scrolled {
  const scrolled = useSignal<Scrolled>({ at: 0, seen: 0 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const read = (): void => {
      const next = { at: axis === "x" ? element.scrollLeft : element.scrollTop, seen: room_in(element, axis, kept) };
      const before = scrolled.peek();
      if (next.at !== before.at || next.seen !== before.seen) scrolled.value = next;
    };
    read();
    element.addEventListener("scroll", read, { passive: true });
    const watcher = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(read); // jsdom has none
    watcher?.observe(element);
    return () => {
      element.removeEventListener("scroll", read);
      watcher?.disconnect();
    };
  }, []);
  return scrolled.value;
}
