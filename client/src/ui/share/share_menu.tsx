// What can be kept of a run, opened again, and passed on.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Menu, MenuFile, type Then } from "../menu";
import { use_page, type Page } from "../page";
import { RECORDING_SUFFIX, type Keep, type TableFormat } from "./keep";

export function ShareMenu(): JSX.Element | null {
  const page = use_page();
  const { keep } = page;
  if (!keep) return null;
  const is_filming = keep.film.is_filming.value;
  return (
    <Menu label={is_filming ? "Filming" : (keep.busy.value ?? "Save")} class="share-menu" id="share" title="Save, open, share"
      is_marked={is_filming}>
      {(then) => (
        <>
          <Recordings page={page} keep={keep} then={then} />
          <Pictures page={page} keep={keep} then={then} />
          <Links keep={keep} then={then} />
        </>
      )}
    </Menu>
  );
}

interface Part {
  page: Page;
  keep: Keep;
  then: Then;
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
      <MenuFile label="Open recording…" accept={RECORDING_SUFFIX} on_file={(file) => then(() => keep.open(file))()} />
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
      <span class="menu-pair">
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
      <span class="menu-pair">
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

function Links({ keep, then }: Omit<Part, "page">): JSX.Element {
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
