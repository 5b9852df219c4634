// The pointer on the canvas: hover, click, double click, and drags that begin on a handle. All others are the camera's.

export interface PointerHandlers {
  hover(x: number, y: number): void;
  leave(): void;
  click(x: number, y: number, toggle: boolean): void;
  double_click(x: number, y: number): void;
  /** Is there a handle? Then the drag that begins here is not the camera's. */
  grab(x: number, y: number): boolean;
  drag(x: number, y: number): void;
  drop(x: number, y: number): void;
  /** The drag came to nothing. */
  let_go(): void;
}

const CLICK_TRAVEL_PX = 4;

/** Listen until the returned function is called. Coordinates are CSS pixels in the element. */
export function listen_to_pointer(element: HTMLElement, handlers: PointerHandlers): () => void {
  const abort = new AbortController();
  const options = { signal: abort.signal };
  let down: { x: number; y: number } | null = null;
  let dragged = false;
  /** The pointer that holds a handle. */
  let holding: number | null = null;
  const let_go = (): void => {
    if (holding !== null) handlers.let_go();
    holding = null;
  };
  const place = (event: MouseEvent): { x: number; y: number } => {
    const rect = element.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };
  element.addEventListener(
    "pointerdown",
    (event) => {
      down = place(event);
      dragged = false;
      let_go();
      const is_plain = event.button === 0 && !event.altKey && !event.ctrlKey && !event.metaKey;
      if (!is_plain || !handlers.grab(down.x, down.y)) return;
      holding = event.pointerId;
      element.setPointerCapture?.(event.pointerId);
      event.stopImmediatePropagation(); // the camera listens here too, and later
    },
    { ...options, capture: true },
  );
  element.addEventListener(
    "pointermove",
    (event) => {
      const at = place(event);
      if (down && Math.hypot(at.x - down.x, at.y - down.y) > CLICK_TRAVEL_PX) dragged = true;
      if (!event.buttons) handlers.hover(at.x, at.y);
      if (holding === event.pointerId && dragged) handlers.drag(at.x, at.y);
    },
    options,
  );
  element.addEventListener(
    "pointerup",
    (event) => {
      if (holding !== event.pointerId) return;
      holding = null;
      const at = place(event);
      if (dragged) handlers.drop(at.x, at.y);
      else handlers.let_go(); // a click, which comes next
    },
    options,
  );
  element.addEventListener("pointercancel", let_go, options);
  window.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || holding === null) return;
      event.stopImmediatePropagation();
      let_go();
    },
    { ...options, capture: true },
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
