// Which columns of a wide table are on the screen, to the right of columns that stay.
import type { RefObject } from "preact";
import { room_in, use_scrolled } from "../scrolled";

const OVERSCAN = 2;

export interface VirtualColumns {
  first: number;
  n_visible: number;
  /** Scroll no further than needed for column `index` to be seen. */
  reveal(index: number): void;
}

/** The columns of which something is seen, and a few more. */
export function columns_seen(
  left: number, width: number, n_columns: number, column_width: number,
): { first: number; n_visible: number } {
  const first = Math.max(0, Math.min(n_columns - 1, Math.floor(left / column_width) - OVERSCAN));
  const wanted = Math.ceil(width / column_width) + 2 * OVERSCAN;
  return { first, n_visible: Math.max(0, Math.min(n_columns - first, wanted)) };
}

/** `kept_width`: what the columns that stay hide of the scroller, pixels. */
export function use_virtual_columns(
  scroller: RefObject<HTMLElement | null>, n_columns: number, column_width: number, kept_width: number,
): VirtualColumns {
  const { at: left, seen: width } = use_scrolled(scroller, "x", kept_width);
  return {
    ...columns_seen(left, width, n_columns, column_width),
    reveal: (index) => {
      const element = scroller.current;
      if (!element) return;
      // Measured now: a table that has just appeared has not told its width yet.
      const room = Math.max(column_width, room_in(element, "x", kept_width));
      const [start, end] = [index * column_width, (index + 1) * column_width];
      if (start < element.scrollLeft) element.scrollLeft = start;
      else if (end > element.scrollLeft + room) element.scrollLeft = end - room;
    },
  };
}
