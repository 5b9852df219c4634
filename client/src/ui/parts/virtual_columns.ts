// Which columns of a wide table are on the screen, to the right of columns that stay.
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

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
  const scroll = useSignal({ left: 0, width: 0 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const read = (): void => {
      const next = { left: element.scrollLeft, width: Math.max(0, element.clientWidth - kept_width) };
      const before = scroll.peek();
      if (next.left !== before.left || next.width !== before.width) scroll.value = next;
    };
    read();
    element.addEventListener("scroll", read, { passive: true });
    const watcher = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(read);
    watcher?.observe(element);
    return () => {
      element.removeEventListener("scroll", read);
      watcher?.disconnect();
    };
  }, []);
  const { left, width } = scroll.value;
  return {
    ...columns_seen(left, width, n_columns, column_width),
    reveal: (index) => {
      const element = scroller.current;
      if (!element) return;
      // Measured now: a table that has just appeared has not told its width yet.
      const room = Math.max(column_width, element.clientWidth - kept_width);
      const [start, end] = [index * column_width, (index + 1) * column_width];
      if (start < element.scrollLeft) element.scrollLeft = start;
      else if (end > element.scrollLeft + room) element.scrollLeft = end - room;
    },
  };
}
