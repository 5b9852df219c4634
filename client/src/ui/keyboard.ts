// The page's keys. Single letters can be switched off (WCAG 2.1.4); nothing is taken from a field that is
// being typed in, nor from a button that has the focus.
import { missing_channel } from "../store/capabilities";
import { toggle_picked } from "./interventions/picked";
import type { Page } from "./page";
import { show_steps, toggle_play } from "./replay/replay_bar";
import { next_twin, toggle_twin_view } from "./twin/twin_switch";
import { set_live } from "./why/live_causal";

export interface KeyHelp {
  keys: string;
  does: string;
}

export const KEY_HELP: readonly KeyHelp[] = [
  { keys: "Space", does: "Pause or resume; in a recording, play" },
  { keys: "s", does: "Make exactly one token" },
  { keys: "← →", does: "Walk through the tokens" },
  { keys: ", .", does: "In a recording, one token back, one on" },
  { keys: "Home End", does: "First token; newest token, and follow it" },
  { keys: "a Delete", does: "Ablate the selected component, or restore it" },
  { keys: "g", does: "Gather the selected component, to change several together" },
  { keys: "u, Ctrl Z", does: "Undo the last change to the interventions" },
  { keys: "Ctrl Y", does: "Redo it (also Ctrl Shift Z)" },
  { keys: "1 2 3", does: "Three-quarter, front and time view" },
  { keys: "0", does: "Fit the model, or its shown layers, into the picture" },
  { keys: "f", does: "Fly to the selection" },
  { keys: "+ −", does: "Zoom in and out" },
  { keys: "[ ]", does: "Turn the picture left and right" },
  { keys: "d", does: "Show activation or direct logit" },
  { keys: "m", does: "Measure the strongest components of every new token (live causal), or stop that" },
  { keys: "t", does: "Clean twin: off, same text, own text" },
  { keys: "c", does: "Show the difference from the clean twin, or this run" },
  { keys: "/", does: "Search the table of components" },
  { keys: "Escape", does: "Clear the selection; leave a field" },
  { keys: "?", does: "This list" },
];

const TURN = Math.PI / 24;

/** A slider takes the keys that move it, and no others. */
const MOVES_SLIDER = /^(Arrow|Home|End|Page)/;

function is_typing(target: EventTarget | null, key: string): boolean {
  if (target instanceof HTMLInputElement && target.type === "range") return MOVES_SLIDER.test(key);
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function is_control(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("button, a, summary, [role=tab]") !== null;
}

/** A button pressed with the mouse does not keep the keys: after Run, Space should pause. */
function let_go(event: MouseEvent): void {
  if (event.detail === 0 || !(event.target instanceof Element)) return;
  const button = event.target.closest<HTMLElement>(".button, .icon-button, .segmented button, .switch");
  if (button === document.activeElement) button?.blur();
}

/** Focus the table's search as soon as it stands there. */
function focus_search(attempts = 20): void {
  const search = document.getElementById("component-search");
  if (search) search.focus();
  else if (attempts > 0) setTimeout(() => focus_search(attempts - 1), 5);
}

type Keys = Record<string, () => void>;

/** Keys that work whatever the person chose. */
function named_keys(page: Page): Keys {
  const { store, actions } = page;
  const replay = store.replay.peek();
  return {
    ArrowLeft: () => actions.move_pos(-1),
    ArrowRight: () => actions.move_pos(1),
    Home: () => actions.select_pos(0),
    End: () => actions.follow(),
    " ": () => (replay ? toggle_play(page, replay) : void actions.pause_or_resume()),
    Escape: () => actions.select(null),
    Delete: () => {
      const selection = store.selection.peek();
      if (selection) actions.toggle(selection);
    },
  };
}

/** Single letters, digits and signs: they can be switched off. */
function letter_keys(page: Page): Keys {
  const { store, actions, state } = page;
  const replay = store.replay.peek();
  const scene = state.scene.peek();
  const selection = store.selection.peek();
  return {
    s: () => (replay ? show_steps(page, replay, replay.shown.peek() + 1)
      : void (store.run.peek()?.state !== "finished" && actions.step())),
    ",": () => replay && show_steps(page, replay, replay.shown.peek() - 1),
    ".": () => replay && show_steps(page, replay, replay.shown.peek() + 1),
    a: () => selection && actions.toggle(selection),
    g: () => selection && toggle_picked(store, selection),
    u: () => actions.undo(),
    f: () => selection && scene?.focus(selection),
    d: () => {
      if (missing_channel(store, "direct_logit") !== null) return;
      store.display_channel.value = store.display_channel.peek() === "activation" ? "direct_logit" : "activation";
    },
    m: () => set_live(page, !store.is_measuring_live.peek()),
    t: () => next_twin(page),
    c: () => toggle_twin_view(page),
    "0": () => scene?.fit(),
    "1": () => scene?.set_view("three_quarter"),
    "2": () => scene?.set_view("front"),
    "3": () => scene?.set_view("time"),
    "+": () => scene?.zoom(1.25),
    "=": () => scene?.zoom(1.25),
    "-": () => scene?.zoom(0.8),
    "[": () => scene?.orbit(-TURN, 0),
    "]": () => scene?.orbit(TURN, 0),
    "/": () => {
      state.drawer_open.value = true;
      state.tab.value = "components";
      focus_search();
    },
    "?": () => (state.help_open.value = true),
  };
}

/** Undo and redo as everywhere: with Ctrl, or the command key. */
function undo_keys(page: Page, event: KeyboardEvent): (() => void) | null {
  if (event.altKey || is_typing(event.target, event.key)) return null;
  const key = event.key.toLowerCase();
  if (key === "y" || (key === "z" && event.shiftKey)) return () => page.actions.redo();
  return key === "z" ? () => page.actions.undo() : null;
}

/** Listen until the returned function is called. */
export function listen_to_keys(page: Page): () => void {
  const on_key = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || page.state.help_open.peek()) return;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      const step_back = event.ctrlKey || event.metaKey ? undo_keys(page, event) : null;
      if (step_back) event.preventDefault();
      step_back?.();
      return;
    }
    if (is_typing(event.target, event.key)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    if (event.key === " " && is_control(event.target)) return; // Space presses the button that has the focus
    const named = named_keys(page);
    const letters = page.state.letter_keys.peek() ? letter_keys(page) : {};
    const act = Object.hasOwn(named, event.key) ? named[event.key] : Object.hasOwn(letters, event.key) ? letters[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  };
  window.addEventListener("keydown", on_key);
  window.addEventListener("click", let_go);
  return () => {
    window.removeEventListener("keydown", on_key);
    window.removeEventListener("click", let_go);
  };
}
