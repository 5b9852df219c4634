// What the "Why" tab remembers while it is closed.
import { signal, type Signal } from "@preact/signals";
import type { OpenedGraph } from "./graph_file";

export type WhyView = "list" | "layers" | "heads" | "live" | "graph";

export interface WhyState {
  /** As written by the person; empty: the token that followed, and the likeliest other one. */
  target: Signal<string>;
  distractor: Signal<string>;
  against_mean: Signal<boolean>;
  /** The question stays where it is while the shown token moves. */
  is_held: Signal<boolean>;
  view: Signal<WhyView>;
  /** A graph read from a file, shown in place of the run's own. */
  opened: Signal<OpenedGraph | null>;
}

export function create_why_state(): WhyState {
  return {
    target: signal(""),
    distractor: signal(""),
    against_mean: signal(false),
    is_held: signal(false),
    view: signal<WhyView>("list"),
    opened: signal<OpenedGraph | null>(null),
  };
}
