// What can be kept of a run, opened again, and passed on.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { use_page, type Page } from "../page";
import { RECORDING_SUFFIX, type Keep } from "./keep";

export function ShareMenu(): JSX.Element | null {
  const page = use_page();
  const { keep } = page;
  const menu = useRef<HTMLDetailsElement>(null);
  const close = (): void => {
    if (menu.current) menu.current.open = false;
  };
  useEffect(() => close_elsewhere(menu), []);
  if (!keep) return null;
  const busy = keep.busy.value;
  return (
    <details class="share-menu" ref={menu}>
      <summary class="button small" id="share" title="Save, open, share">{busy ?? "Save"}</summary>
      <div class="share-items">
        <Recordings page={page} keep={keep} then={(work) => () => { close(); void work(); }} />
      </div>
    </details>
  );
}

/** A press anywhere else, or Escape, closes the menu, until the returned function is called. */
function close_elsewhere(menu: { current: HTMLDetailsElement | null }): () => void {
  const abort = new AbortController();
  const close = (event: Event): void => {
    const is_inside = event.target instanceof Node && menu.current?.contains(event.target);
    const is_meant = event instanceof KeyboardEvent ? event.key === "Escape" : !is_inside;
    if (menu.current && is_meant) menu.current.open = false;
  };
  for (const type of ["pointerdown", "keydown"]) window.addEventListener(type, close, { signal: abort.signal });
  return () => abort.abort();
}

interface Part {
  page: Page;
  keep: Keep;
  /** Close the menu, then do it. */
  then: (work: () => unknown) => () => void;
}

function Recordings({ page, keep, then }: Part): JSX.Element {
  const { store } = page;
  const has_run = store.run.value !== null;
  const can_save_page = has_run && keep.has_server;
  return (
    <div role="group" aria-label="Recording">
      <h3>Recording</h3>
      <button type="button" disabled={!has_run} onClick={then(keep.save_recording)}
        title="Everything captured of this run, in one file that opens here and in Python">Save recording</button>
      <button type="button" disabled={!can_save_page} onClick={then(keep.save_page)}
        title={keep.has_server ? "One file that opens in any browser, with nothing behind it: to mail" : "This file is such a page already"}>
        Save as web page
      </button>
      <label class="share-file">Open recording…
        <input type="file" accept={RECORDING_SUFFIX} class="visually-hidden" onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file) then(() => keep.open(file))();
        }} />
      </label>
    </div>
  );
}
