// What every part of the page can reach: the store, what a person can do, and the page's own small state.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { signal, type Signal } from "@preact/signals";
import type { Store } from "../store/store";
import type { Actions } from "./actions";
import { create_branches_state, type BranchesState } from "./branches/branches_state";
import { create_edits_state, type EditsState } from "./edits/edits_state";
import { create_interventions_state, type InterventionsState } from "./interventions/interventions_state";
import type { ImportanceMetric } from "./why/importance";
import { create_lens_state, type LensState } from "./lens/lens_state";
import { create_parts_state, type PartsState } from "./parts/parts_state";
import { create_patching_state, type PatchingState } from "./patching/patching_state";
import type { SceneMount, SceneView } from "./scene_view";
import type { Keep } from "./share/keep";
import { create_why_state, type WhyState } from "./why/why_state";

export type DrawerTab =
  | "components" | "lens" | "next" | "attention" | "why" | "heads" | "causal" | "patching" | "turn" | "directions"
  | "branches" | "twin" | "edits";
export type ChipMetric = "surprise" | "entropy" | "settled" | "twin_kl" | "none" | ImportanceMetric;
export type ComponentFilter = "all" | "head" | "neuron" | "layer" | "changed";

/** State of the page alone: where panels stand, what is being typed. Kept across reloads where it helps. */
export interface PageState {
  tab: Signal<DrawerTab>;
  drawer_open: Signal<boolean>;
  drawer_tall: Signal<boolean>;
  chip_metric: Signal<ChipMetric>;
  search: Signal<string>;
  filter: Signal<ComponentFilter>;
  help_open: Signal<boolean>;
  letter_keys: Signal<boolean>;
  recompute: Signal<"from_now" | "keep_text" | "restart">;
  /** Said to screen readers, politely. */
  announcement: Signal<string>;
  /** Why there is no picture; none while there is one. */
  scene_problem: Signal<string | null>;
  scene: Signal<SceneView | null>;
  branches: BranchesState;
  edits: EditsState;
  interventions: InterventionsState;
  lens: LensState;
  parts: PartsState;
  patching: PatchingState;
  why: WhyState;
}

export interface Page {
  store: Store;
  actions: Actions;
  state: PageState;
  mount_scene: SceneMount;
  /** What can be kept of a run and opened again; a page under test has none. */
  keep?: Keep;
}

function kept<T extends string | boolean>(key: string, fallback: T): Signal<T> {
  const name = `livelens.${key}`;
  let start = fallback;
  try {
    const text = localStorage.getItem(name);
    const value: unknown = text === null ? fallback : JSON.parse(text);
    if (typeof value === typeof fallback) start = value as T;
  } catch {
    // no storage in this browser or frame: the page works without
  }
  const state = signal<T>(start);
  state.subscribe((value) => {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // as above
    }
  });
  return state;
}

export function create_page_state(): PageState {
  return {
    tab: signal<DrawerTab>("components"),
    drawer_open: kept("drawer_open", window.innerHeight >= 800),
    drawer_tall: signal(false),
    chip_metric: kept<ChipMetric>("chip_metric", "surprise"),
    search: signal(""),
    filter: signal<ComponentFilter>("all"),
    help_open: signal(false),
    letter_keys: kept("letter_keys", true),
    recompute: signal<"from_now" | "keep_text" | "restart">("from_now"),
    announcement: signal(""),
    scene_problem: signal<string | null>(null),
    scene: signal<SceneView | null>(null),
    branches: create_branches_state(),
    edits: create_edits_state(),
    interventions: create_interventions_state(),
    lens: create_lens_state(),
    parts: create_parts_state(),
    patching: create_patching_state(),
    why: create_why_state(),
  };
}

/** Say `words` once what was asked for was taken: nothing where it was refused, or where something newer holds (null). */
export async function announce_taken(state: PageState, is_taken: Promise<boolean>, words: () => string | null): Promise<void> {
  if (!(await is_taken)) return;
  const said = words();
  if (said !== null) state.announcement.value = said;
}

export const PageContext = createContext<Page | null>(null);

export function use_page(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("a part of the page was rendered outside it");
  return page;
}
