// The pointer on the canvas: hover, click, double click. Dragging belongs to the camera.

export interface PointerHandlers {
  hover(x: number, y: number): void;
  leave(): void;
  click(x: number, y: number, toggle: boolean): void;
  double_click(x: number, y: number): void;
}

const CLICK_TRAVEL_PX = 4;

/** Listen until the returned function is called. Coordinates are CSS pixels in the element. */
export function listen_to_pointer(element: HTMLElement, handlers: PointerHandlers): () => void {
  const abort = new AbortController();
  const options = { signal: abort.signal };
  let down: { x: number; y: number } | null = null;
  let dragged = false;
  const place = (event: MouseEvent): { x: number; y: number } => {
    const rect = element.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };
  element.addEventListener(
    "pointerdown",
    (event) => {
      down = place(event);
      dragged = false;
    },
    options,
  );
  element.addEventListener(
    "pointermove",
    (event) => {
      const at = place(event);
      if (down && Math.hypot(at.x - down.x, at.y - down.y) > CLICK_TRAVEL_PX) dragged = true;
      if (!event.buttons) handlers.hover(at.x, at.y);
    },
    options,
  );
  element.addEventListener("pointerleave", () => handlers.leave(), options);
  element.addEventListener(
    "click",
    (event) => {
      const at = place(event);
      if (!dragged) handlers.click(at.x, at.y, event.altKey || event.ctrlKey || event.metaKey);
      down = null;
    },
    options,
  );
  element.addEventListener(
    "dblclick",
    (event) => {
      const at = place(event);
      if (!dragged) handlers.double_click(at.x, at.y);
    },
    options,
  );
  element.addEventListener("contextmenu", (event) => event.preventDefault(), options);
  return () => abort.abort();
}
