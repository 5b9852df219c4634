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

interface Place {
  x: number;
  y: number;
}

/** Listen until the returned function is called. Coordinates are CSS pixels in the element. */
export function listen_to_pointer(element: HTMLElement, handlers: PointerHandlers): () => void {
  const abort = new AbortController();
  const pointer = new Pointer(element, handlers);
  const on = <Type extends keyof HTMLElementEventMap>(
    target: HTMLElement | Window, type: Type, hear: (event: HTMLElementEventMap[Type]) => void, capture = false,
  ): void => target.addEventListener(type, hear as EventListener, { signal: abort.signal, capture });
  on(element, "pointerdown", (event) => pointer.down(event), true);
  on(element, "pointermove", (event) => pointer.move(event));
  on(element, "pointerup", (event) => pointer.up(event));
  on(element, "pointercancel", () => pointer.let_go());
  on(element, "pointerleave", () => handlers.leave());
  on(element, "click", (event) => pointer.click(event));
  on(element, "dblclick", (event) => pointer.double_click(event));
  on(element, "contextmenu", (event) => event.preventDefault());
  on(window, "keydown", (event) => pointer.key(event), true);
  return () => abort.abort();
}

class Pointer {
  private pressed: Place | null = null;
  private is_dragged = false;
  /** The pointer that holds a handle. */
  private holding: number | null = null;

  constructor(
    private readonly element: HTMLElement,
    private readonly handlers: PointerHandlers,
  ) {}

  down(event: PointerEvent): void {
    const at = this.place(event);
    this.pressed = at;
    this.is_dragged = false;
    this.let_go();
    const is_plain = event.button === 0 && !event.altKey && !event.ctrlKey && !event.metaKey;
    if (!is_plain || !this.handlers.grab(at.x, at.y)) return;
    this.holding = event.pointerId;
    this.element.setPointerCapture?.(event.pointerId);
    event.stopImmediatePropagation(); // the camera listens here too, and later
  }

  move(event: PointerEvent): void {
    const at = this.place(event);
    const { pressed } = this;
    if (pressed && Math.hypot(at.x - pressed.x, at.y - pressed.y) > CLICK_TRAVEL_PX) this.is_dragged = true;
    if (!event.buttons) this.handlers.hover(at.x, at.y);
    if (this.holding === event.pointerId && this.is_dragged) this.handlers.drag(at.x, at.y);
  }

  up(event: PointerEvent): void {
    if (this.holding !== event.pointerId) return;
    this.holding = null;
    const at = this.place(event);
    if (this.is_dragged) this.handlers.drop(at.x, at.y);
    else this.handlers.let_go(); // a click, which comes next
  }

  click(event: MouseEvent): void {
    const at = this.place(event);
    if (!this.is_dragged) this.handlers.click(at.x, at.y, event.altKey || event.ctrlKey || event.metaKey);
    this.pressed = null;
  }

  double_click(event: MouseEvent): void {
    const at = this.place(event);
    if (!this.is_dragged) this.handlers.double_click(at.x, at.y);
  }

  key(event: KeyboardEvent): void {
    if (event.key !== "Escape" || this.holding === null) return;
    event.stopImmediatePropagation();
    this.let_go();
  }

  let_go(): void {
    if (this.holding !== null) this.handlers.let_go();
    this.holding = null;
  }

  private place(event: MouseEvent): Place {
    const rect = this.element.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  }
}
