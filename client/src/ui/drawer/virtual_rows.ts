// Which rows of a long list are on the screen. Lists taller than a browser can scroll are scrolled in scale.
import type { RefObject } from "preact";
import { room_in, use_scrolled } from "../scrolled";

const TALLEST_PX = 8_000_000;
const OVERSCAN = 4;

export interface VirtualRows {
  first: number;
  n_visible: number;
  /** Height of the space that scrolls, pixels. */
  height: number;
  top_of(index: number): number;
  /** Scroll no further than needed for row `index` to be seen. */
  reveal(index: number): void;
}

/** `header_height`: what a header that sticks to the top hides of the scroller. */
export function use_virtual_rows(
  scroller: RefObject<HTMLElement | null>, n_rows: number, row_height: number, header_height: number,
): VirtualRows {
  const { at: top, seen } = use_scrolled(scroller, "y", header_height);
  const full = n_rows * row_height;
  const height = Math.min(full, TALLEST_PX);
  // Rows lie in a window that moves along with the scroll bar; their spacing is true, its place is scaled.
  const offset_of = (scrolled: number): number => {
    const travel = height - seen;
    return travel <= 0 ? 0 : (Math.min(scrolled, travel) / travel) * Math.max(0, full - seen);
  };
  const offset = offset_of(top);
  const first = Math.max(0, Math.floor(offset / row_height) - OVERSCAN);
  return {
    first,
    n_visible: Math.min(n_rows - first, Math.ceil(seen / row_height) + 2 * OVERSCAN),
    height,
    top_of: (index) => index * row_height - offset + Math.min(top, Math.max(0, height - seen)),
    reveal: (index) => {
      const element = scroller.current;
      if (!element) return;
      // Measured now: a list that has just appeared has not told its height yet.
      const room = room_in(element, "y", header_height);
      const at = index * row_height - offset;
      const by = at < 0 ? at : at + row_height > room ? at + row_height - room : 0;
      if (by === 0) return;
      const travel = full - room;
      element.scrollTop = travel <= 0 ? 0 : ((offset + by) / travel) * (height - room);
    },
  };
}
