// What can be kept of a run, opened again, and passed on.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { use_page, type Page } from "../page";
import { RECORDING_SUFFIX, type Keep } from "./keep";

export function ShareMenu(): JSX.Element | null {
  const page = use_page();
  const { keep } = page;
  const menu = useRef<HTMLDetailsElement>(null);
  if (!keep) return null;
  const close = (): void => {
    if (menu.current) menu.current.open = false;
  };
  const busy = keep.busy.value;
  return (
    <details class="share-menu" ref={menu} onKeyDown={(event) => event.key === "Escape" && close()}>
      <summary class="button small" id="share" title="Save, open, share">{busy ?? "Save"}</summary>
      <div class="share-items">
        <Recordings page={page} keep={keep} then={(work) => () => { close(); void work(); }} />
      </div>
    </details>
  );
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
