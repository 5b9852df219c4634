// What can be kept of a run, opened again, and passed on.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { use_page, type Page } from "../page";
import { RECORDING_SUFFIX, type Keep, type TableFormat } from "./keep";

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
  const part: Part = { page, keep, then: (work) => () => { close(); void work(); } };
  return (
    <details class="share-menu" ref={menu}>
      <summary class="button small" id="share" title="Save, open, share"
        data-filming={keep.film.is_filming.value || undefined}>{keep.film.is_filming.value ? "Filming" : (busy ?? "Save")}</summary>
      <div class="share-items">
        <Recordings {...part} />
        <Pictures {...part} />
        <Links {...part} />
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

const SCALES = [1, 2, 3, 4];

function Pictures({ page, keep, then }: Part): JSX.Element {
  const scale = useSignal(2);
  const format = useSignal<TableFormat>("csv");
  const scene = page.state.scene.value;
  const { film } = keep;
  const is_filming = film.is_filming.value;
  return (
    <div role="group" aria-label="Pictures and tables">
      <h3>Pictures and tables</h3>
      <span class="share-picture">
        <button type="button" disabled={!scene} onClick={then(() => keep.save_picture(scale.peek()))}
          title="PNG with the labels and the legend">Save picture</button>
        <select aria-label="Pixels of the picture to one of the page" value={String(scale.value)}
          onChange={(event) => (scale.value = Number(event.currentTarget.value))}>
          {SCALES.map((each) => <option key={each} value={String(each)}>{each}×</option>)}
        </select>
      </span>
      <button type="button" disabled={!scene || film.problem !== null}
        title={film.problem ?? "WebM of the picture as it changes: play a recording, or let a run go on"}
        onClick={then(() => (is_filming ? film.stop() : scene && film.start(scene)))}>
        {is_filming ? "End and save the film" : "Begin a film"}
      </button>
      <span class="share-picture">
        <button type="button" disabled={page.store.tokens.value.length === 0} onClick={then(() => keep.save_tokens(format.peek()))}
          title="Every token with its probability, the entropy, and what else was likely">Save table of tokens</button>
        <select aria-label="Format of the table" value={format.value}
          onChange={(event) => (format.value = event.currentTarget.value as TableFormat)}>
          <option value="csv">CSV</option>
          <option value="parquet">Parquet</option>
        </select>
      </span>
    </div>
  );
}

function Links({ keep, then }: Part): JSX.Element {
  return (
    <div role="group" aria-label="Link">
      <h3>Link to this view</h3>
      <button type="button" onClick={then(() => keep.copy_link(false))}
        title="Camera, selection, channel, token and interventions; whoever opens it needs access to this server">Copy link</button>
      <button type="button" onClick={then(() => keep.copy_link(true))}
        title="The same, with the prompt in it for everyone to read">Copy link with prompt</button>
    </div>
  );
}
