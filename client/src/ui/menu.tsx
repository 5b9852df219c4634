// A button that opens a short list of things to do; a press elsewhere, or Escape, closes it.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Close the menu, then do it. */
export type Then = (work: () => unknown) => () => void;

interface Props {
  label: string;
  class: string;
  id?: string;
  title?: string;
  /** Something that goes on while the menu is closed. */
  is_marked?: boolean;
  children: (then: Then) => ComponentChildren;
}

/** The items stand in groups, each a `div`. */
export function Menu({ label, class: name, id, title, is_marked, children }: Props): JSX.Element {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => close_elsewhere(menu), []);
  const then: Then = (work) => () => {
    if (menu.current) menu.current.open = false;
    void work();
  };
  return (
    <details class={`menu ${name}`} ref={menu}>
      <summary class="button small" id={id} title={title} data-marked={is_marked || undefined}>{label}</summary>
      <div class="menu-items">{children(then)}</div>
    </details>
  );
}

/** An item that opens a file. */
export function MenuFile({ label, accept, on_file }: { label: string; accept: string; on_file: (file: File) => void }): JSX.Element {
  return (
    <label class="menu-file">{label}
      <input type="file" accept={accept} class="visually-hidden" onChange={(event) => {
        const file = event.currentTarget.files?.[0];
        event.currentTarget.value = "";
        if (file) on_file(file);
      }} />
    </label>
  );
}

/** Until the returned function is called. */
function close_elsewhere(menu: { current: HTMLDetailsElement | null }): () => void {
  const abort = new AbortController();
  const close = (event: Event): void => {
    const is_inside = event.target instanceof Node && menu.current?.contains(event.target);
    const is_meant = event instanceof KeyboardEvent ? event.key === "Escape" : !is_inside;
    if (!menu.current?.open || !is_meant) return;
    menu.current.open = false;
    if (event instanceof KeyboardEvent) event.preventDefault(); // it closes the menu and leaves the selection
  };
  for (const type of ["pointerdown", "keydown"]) window.addEventListener(type, close, { signal: abort.signal, capture: true });
  return () => abort.abort();
}
