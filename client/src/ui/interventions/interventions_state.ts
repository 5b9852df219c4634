// What the interventions panels remember: what is being written, what is picked, which sets and directions are kept.
import { signal, type Signal } from "@preact/signals";
import type { InterventionSpec } from "../../protocol/generated";
import type { Question } from "../../protocol/questions";
import { Inquiry } from "../../store/inquiry";
import type { DirectionDraft } from "./direction_form";
import type { HeldDirection } from "./held_direction";
import { new_turn, type MarkMode } from "./turn_draft";
import { read_saved_sets, type SavedSet } from "./saved_sets";

export interface InterventionsState {
  /** Ids that were on before the whole set was switched off: the same come back. */
  were_on: Signal<ReadonlySet<string>>;
  sets_open: Signal<boolean>;
  /** The list of who changed what. */
  history_open: Signal<boolean>;
  set_name: Signal<string>;
  /** Why the last set could not be opened, kept or sent. */
  set_problem: Signal<string | null>;
  /** Sets kept in this browser, newest first. */
  saved: Signal<readonly SavedSet[]>;
  /** The inspector's form; null while it is closed. Its components are chosen when it is applied. */
  draft: Signal<InterventionSpec | null>;
  /** The listed intervention whose fields are open. */
  opened: Signal<string | null>;
  /** Directions that this page has made or opened, newest first. */
  directions: Signal<readonly HeldDirection[]>;
  /** Why the last file could not be opened as a direction. */
  direction_problem: Signal<string | null>;
  direction_draft: DirectionDraft;
  direction_inquiry: Inquiry<Extract<Question, { type: "request_direction" }>>;
  /** The attention edit that is being drawn, and what a click on a token marks. */
  turn: Signal<InterventionSpec>;
  turn_marks: Signal<MarkMode>;
}

export function create_interventions_state(): InterventionsState {
  return {
    were_on: signal<ReadonlySet<string>>(new Set<string>()),
    sets_open: signal(false),
    history_open: signal(false),
    set_name: signal(""),
    set_problem: signal<string | null>(null),
    saved: signal<readonly SavedSet[]>(read_saved_sets()),
    draft: signal<InterventionSpec | null>(null),
    opened: signal<string | null>(null),
    directions: signal<readonly HeldDirection[]>([]),
    direction_problem: signal<string | null>(null),
    direction_draft: {
      kind: signal("contrast"), positive: signal(""), negative: signal(""), token: signal(""), layer: signal(""), axis: signal("1"),
      is_here: signal(false),
    },
    direction_inquiry: new Inquiry(),
    turn: signal(new_turn()),
    turn_marks: signal<MarkMode>("query"),
  };
}
