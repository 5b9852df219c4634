// Whole sets: named and kept in this browser, sent as a file or through the clipboard, opened from either.
import type { JSX } from "preact";
import { add_notice } from "../../store/store";
import { written_edit } from "../edits/edit_text";
import { IconButton } from "../icons";
import { use_page, type Page } from "../page";
import { save_file } from "../why/picture_file";
import { written } from "./direction_text";
import { with_set, write_saved_sets } from "./saved_sets";
import { model_of, set_text, SetFileError, type SavedSet } from "./set_file";
import { open_set_file, open_set_text, say_problem, use_set } from "./set_actions";

export function Sets(): JSX.Element {
  const page = use_page();
  const { saved, set_name, set_problem } = page.state.interventions;
  const is_empty = page.store.interventions.value.length === 0;
  return (
    <div class="sets" role="group" aria-label="Kept sets">
      <form class="set-row" onSubmit={(event) => {
        event.preventDefault();
        keep_set(page);
      }}>
        <input type="text" id="set-name" placeholder="Name of this set" aria-label="Name of this set" maxLength={80}
          autocomplete="off" value={set_name.value} onInput={(event) => (set_name.value = event.currentTarget.value)} />
        <button type="submit" class="button small" disabled={is_empty || set_name.value.trim() === ""}
          title="Keep the whole set in this browser">Keep</button>
      </form>
      <div class="set-row">
        <button type="button" class="button small" disabled={is_empty} onClick={() => download_set(page)}>Download</button>
        <button type="button" class="button small" disabled={is_empty} onClick={() => void copy_set(page)}>Copy</button>
        <button type="button" class="button small" onClick={() => void paste_set(page)}>Paste</button>
        <label class="button small file-button">Open…
          <input type="file" accept="application/json,.json" class="visually-hidden" aria-label="Open a set from a file"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void open_set_file(page, file);
            }} />
        </label>
      </div>
      {set_problem.value && <p class="off-mark" role="alert">{set_problem.value}</p>}
      {saved.value.length > 0 && (
        <ul class="set-list" aria-label="Sets kept in this browser">
          {saved.value.map((set, i) => <SetEntry key={`${set.name} ${set.model.weights_sha256}`} set={set} at={i} />)}
        </ul>
      )}
    </div>
  );
}

function SetEntry({ set, at }: { set: SavedSet; at: number }): JSX.Element {
  const page = use_page();
  const { saved } = page.state.interventions;
  const info = page.store.model_info.value;
  const is_other = info !== null && info.weights_sha256 !== set.model.weights_sha256;
  const n = set.interventions.length;
  return (
    <li class="set-entry">
      <span class="set-name" title={`${n} intervention${n === 1 ? "" : "s"}, made with ${set.model.model_name}`}>
        {set.name} <span class="muted">{n}{is_other && ` · ${set.model.model_name}`}</span>
      </span>
      <button type="button" class="button small" aria-label={`Use ${set.name}`} title="In place of what is listed"
        onClick={() => void use_set(page, set, "replace")}>Use</button>
      <button type="button" class="button small" aria-label={`Add ${set.name}`} title="To what is listed"
        onClick={() => void use_set(page, set, "add")}>Add</button>
      <IconButton icon="close" label={`Forget ${set.name}`} onClick={() => store_sets(page, saved.peek().filter((_, i) => i !== at))} />
    </li>
  );
}

/** The listed set as it can be kept; null without a model. */
function listed_set(page: Page): SavedSet | null {
  const info = page.store.model_info.peek();
  if (!info) return null;
  const name = page.state.interventions.set_name.peek().trim() || "interventions";
  const interventions = [...page.store.interventions.peek()];
  const named = new Set(interventions.flatMap((spec) => [spec.direction_id, spec.edit_id]));
  const directions = page.state.interventions.directions.peek().filter((held) => named.has(held.info.direction_id)).map(written);
  const edits = page.state.edits.held.peek().filter((held) => named.has(held.info.edit_id)).map(written_edit);
  return { name, model: model_of(info), interventions, directions, edits };
}

/** The listed set and its file; null where there is none, which is told. */
function set_file(page: Page): { set: SavedSet; text: string } | null {
  const set = listed_set(page);
  page.state.interventions.set_problem.value = null;
  try {
    return set && { set, text: set_text(set) };
  } catch (error) {
    if (!(error instanceof SetFileError)) throw error;
    say_problem(page, error.message);
    return null;
  }
}

function store_sets(page: Page, sets: readonly SavedSet[]): void {
  page.state.interventions.saved.value = sets;
  const problem = write_saved_sets(sets);
  if (problem) add_notice(page.store, "info", problem);
}

function keep_set(page: Page): void {
  const file = set_file(page);
  if (!file) return;
  store_sets(page, with_set(page.state.interventions.saved.peek(), file.set));
  page.state.announcement.value = `${file.set.name} kept`;
}

function download_set(page: Page): void {
  const file = set_file(page);
  if (!file) return;
  const file_name = file.set.name.replaceAll(/[^\p{L}\p{N} ._-]/gu, "_").replace(/^\.+/, "_");
  save_file(file.text, `${file_name}.livelens.json`, "application/json");
}

async function copy_set(page: Page): Promise<void> {
  const file = set_file(page);
  if (!file) return;
  try {
    await navigator.clipboard.writeText(file.text);
    add_notice(page.store, "info", `Copied: ${file.set.interventions.length} interventions as JSON.`);
  } catch {
    say_problem(page, "This browser does not let the page write to the clipboard: use Download.");
  }
}

async function paste_set(page: Page): Promise<void> {
  let text: string;
  try {
    text = await navigator.clipboard.readText();
  } catch {
    say_problem(page, "This browser does not let the page read the clipboard: use Open.");
    return;
  }
  open_set_text(page, text);
}
