// What in the store makes the picture old, and which part of it.
import { effect } from "@preact/signals";
import { MAX_PAST_SHEETS } from "../layout/time_axis";
import type { ModelInfo } from "../protocol/generated";
import { drawn_file } from "../store/drawn_text";
import { shown_layers, type LayerRange } from "../store/layer_range";
import type { Store } from "../store/store";
import { stream_answer } from "../store/stream_paths";

export type Dirty = "values" | "marks" | "arcs" | "paths" | "stream" | "causal" | "colours";
export const ALL_DIRTY: readonly Dirty[] = ["values", "marks", "arcs", "paths", "stream", "causal", "colours"];

export interface StoreListener {
  model(info: ModelInfo | null): void;
  layers(range: LayerRange | null): void;
  /** These parts are old; none named: only labels. */
  dirty(...what: readonly Dirty[]): void;
  /** What brightness means has changed. */
  legend(): void;
  /** Steps were dropped: nothing that is shown may be taken for theirs. */
  dropped(): void;
  still(reduced_motion: boolean): void;
}

/** Tell `listener` of every change until one of the returned functions is called: call them all to stop. */
export function watch_store(store: Store, listener: StoreListener): (() => void)[] {
  return [
    effect(() => listener.model(store.model_info.value)),
    effect(() => listener.layers(shown_layers(store))),
    effect(() => {
      void store.theme.value;
      void store.display_channel.value;
      void store.analysis.comparison.view.value;
      listener.dirty(...ALL_DIRTY);
      listener.legend();
    }),
    effect(() => {
      void [store.current_pos.value, store.is_measuring_live.value];
      listener.dirty("values", "marks", "arcs", "causal");
    }),
    effect(() => {
      void drawn_file(store);
      listener.dirty(...ALL_DIRTY);
      listener.legend();
    }),
    effect(() => {
      void store.tokens.value;
      listener.dirty();
    }),
    effect(() => {
      void [store.interventions.value, store.picked.value];
      void store.hovered.value;
      listener.dirty("marks");
    }),
    effect(() => {
      void store.selection.value;
      listener.dirty("marks", "arcs");
    }),
    effect(() => {
      // Nothing is worked out of answers that nobody looks at.
      const { walk } = store.analysis;
      if (walk.is_open.value) void [walk.graph.value, walk.node.value, store.current_pos.value];
      listener.dirty("paths", "arcs");
    }),
    effect(() => {
      void [store.analysis.walk.is_open.value, store.analysis.overview.slot.value.answer];
      if (store.display_channel.peek() !== "direct_logit") return;
      listener.dirty("values");
      listener.legend();
    }),
    effect(() => {
      const { causal, comparison } = store.analysis;
      void [causal.view.value, causal.answers.value, comparison.answers.value];
      listener.dirty("values", "arcs");
      listener.legend();
    }),
    effect(() => {
      const { is_shown, pinned } = store.stream;
      if (is_shown.value) void [stream_answer(store), pinned.value, store.current_pos.value];
      listener.dirty("stream");
    }),
    effect(() => listener.still(store.reduced_motion.value)),
    store.history.subscribe((pos) => {
      const current = store.current_pos.peek();
      if (pos < 0) listener.dropped();
      if (pos < 0 || (pos <= current && pos >= current - MAX_PAST_SHEETS)) listener.dirty("values", "arcs");
      if (pos < 0 || pos === current) listener.dirty("causal");
    }),
  ];
}
