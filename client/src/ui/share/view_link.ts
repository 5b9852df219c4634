// The view and the page's address, kept in step: what is looked at goes into the address, a moment after it comes to
// rest and without a step of history; an address that is opened or pasted is looked at.
import { effect, signal } from "@preact/signals";
import { fitting_range, peek_shown_layers } from "../../store/layer_range";
import { hash_keys } from "../../store/page_hash";
import { add_notice, type Store } from "../../store/store";
import { has_view, view_of, with_view, type ViewState } from "../../store/view_state";
import { check_set } from "../interventions/set_file";
import { has_component } from "../../store/query";
import { has_twin } from "../../store/twin";
import type { PageState } from "../page";
import type { RunForm } from "../run/run_form";

/** Browsers refuse more than about seven changes a second. */
const SETTLE_MS = 400;

export interface ViewLinkParts {
  store: Store;
  state: PageState;
  form: RunForm;
}

/** What is looked at now. */
export function current_view({ store, state }: Pick<ViewLinkParts, "store" | "state">): ViewState {
  const camera = state.scene.peek()?.camera();
  return {
    selection: store.selection.peek(),
    pos: store.follow.peek() ? null : store.current_pos.peek(),
    channel: store.display_channel.peek(),
    layer_range: peek_shown_layers(store),
    is_from_twin: store.analysis.comparison.view.peek() === "twin",
    preset: camera?.preset ?? "three_quarter",
    pose: camera?.pose ?? null,
    interventions: store.interventions.peek(),
    prompt: null,
  };
}

/** Keep both in step until the returned function is called. */
export function keep_view_link(parts: ViewLinkParts): () => void {
  const { store, state } = parts;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wanted: ViewState | null = has_view(location.hash) ? view_of(location.hash) : null;
  const moved = signal(0);
  const look = (): void => {
    if (wanted) wanted = still_wanted(parts, wanted);
  };
  const write = (): void => {
    if (wanted === null) write_address(with_view(location.hash, current_view(parts)));
  };
  const on_hash = (): void => {
    if (!has_view(location.hash)) return;
    wanted = view_of(location.hash);
    look();
  };
  const ends = [
    effect(() => {
      void [store.selection.value, store.current_pos.value, store.follow.value, store.display_channel.value];
      void [store.layer_range.value, store.interventions.value, store.analysis.comparison.view.value, moved.value];
      clearTimeout(timer);
      timer = setTimeout(write, SETTLE_MS);
    }),
    effect(() => {
      void [store.model_info.value, store.run.value?.run_id, store.tokens.value];
      look();
    }),
    effect(() => {
      const scene = state.scene.value;
      look();
      return scene?.on_camera(() => moved.value++);
    }),
  ];
  window.addEventListener("hashchange", on_hash);
  return () => {
    clearTimeout(timer);
    ends.forEach((end) => end());
    window.removeEventListener("hashchange", on_hash);
  };
}

function write_address(hash: string): void {
  if (hash === location.hash || (hash === "" && location.hash === "#")) return;
  try {
    history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
  } catch {
    // too often, or a page that may not: the link is made when it is asked for
  }
}

/** A run is to come by itself, from the address or out of a recording, and is not yet here as far as the token `pos`. */
function is_run_awaited(store: Store, pos: number | null): boolean {
  const replay = store.replay.peek();
  const run = store.run.peek();
  if (!replay && !hash_keys(location.hash).has("run")) return false;
  if (!run) return true;
  const { newest_pos } = store.history;
  if (pos === null || newest_pos >= pos) return false;
  // A recording tells all that it has at once, and then it is as far as it comes by itself. Of a run that has ended the
  // tokens come first and what was computed for each after them; nothing was for the last.
  return replay ? newest_pos < 0 && replay.n_steps > 0 : run.state !== "finished" || pos < store.tokens.peek().length - 1;
}

/**
 * Bring about what can be now; null once nothing is left to wait for: the model and its picture, and where a run is
 * in the address or the page, that run with the wanted token.
 */
function still_wanted({ store, state, form }: ViewLinkParts, view: ViewState): ViewState | null {
  const info = store.model_info.peek();
  const scene = state.scene.peek();
  if (!info || (!scene && state.scene_problem.peek() === null)) return view;
  if (is_run_awaited(store, view.pos)) return view;
  const run = store.run.peek();
  store.layer_range.value = fitting_range(view.layer_range, info.n_layers); // the camera frames what is shown
  scene?.set_camera(view);
  store.display_channel.value = view.channel;
  if (view.is_from_twin && (!run || has_twin(store))) store.analysis.comparison.view.value = "twin";
  const { selection } = view;
  store.selection.value = selection && has_component(info, selection) ? selection : null;
  if (view.pos !== null && view.pos <= store.history.newest_pos) {
    store.follow.value = false;
    store.current_pos.value = view.pos;
  }
  if (view.prompt !== null) form.prompt.value = view.prompt;
  if (!run) take_interventions(store, view);
  return null;
}

/** A run has its own set, which everyone who watches it shares; a link brings one only where none is there. */
function take_interventions(store: Store, view: ViewState): void {
  const [info, limits] = [store.model_info.peek(), store.limits.peek()];
  if (!info || view.interventions.length === 0) return;
  try {
    check_set(view.interventions, info, limits?.max_interventions ?? 256);
    store.interventions.value = view.interventions;
  } catch (error) {
    add_notice(store, "info", `The link's interventions are left out. ${error instanceof Error ? error.message : ""}`);
  }
}

/** A frame's address holds a key (`frame/KEY/`), as good as the server's token. */
const KEY_IN_PATH = /\/frame\/[^/]+\/$/;

/** The address of this view, with the prompt where it is asked for. The server's token is never in it. */
export function link_to_view(parts: ViewLinkParts, with_prompt: boolean): string {
  const prompt = with_prompt ? (parts.store.run.peek()?.prompt ?? parts.form.prompt.peek()) : null;
  return `${location.origin === "null" ? "file://" : location.origin}${location.pathname.replace(KEY_IN_PATH, "/")}`
    + with_view(location.hash, { ...current_view(parts), prompt });
}
