// The question follows the shown token while the tab is looked at; what is selected in the picture is walked to.
import { effect, untracked } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { component_of_node, node_of } from "../../layout/node_id";
import { missing_channel } from "../../store/capabilities";
import { is_at_rest, once_settled } from "../../store/rest";
import { same_component } from "../../store/types";
import type { Page } from "../page";
import type { WhyState } from "./why_state";
import { ask_node, explain, go, question_of, show_node } from "./why_actions";

/** Not before the shown token has rested so long: walking through a text asks nothing on the way. */
const REST_MS = 180;

export function use_why(page: Page, state: WhyState): void {
  useEffect(() => {
    const { walk } = page.store.analysis;
    walk.is_open.value = true;
    const give_back_channel = show_direct_effects(page);
    const ends = [follow_token(page, state), follow_selection(page), follow_walk(page)];
    return () => {
      ends.forEach((end) => end());
      walk.is_open.value = false;
      give_back_channel();
      give_up(page);
    };
  }, [page]);
}

/** The sheet shows the direct effects of the question while it is looked at, where the model gives them. */
function show_direct_effects({ store }: Page): () => void {
  const before = store.display_channel.peek();
  if (before === "direct_logit" || missing_channel(store, "direct_logit") !== null) return () => undefined;
  store.display_channel.value = "direct_logit";
  return () => {
    if (store.display_channel.peek() === "direct_logit") store.display_channel.value = before;
  };
}

/** What the walk stands at is asked about; when it moves, its component is selected too. */
function follow_walk(page: Page): () => void {
  let is_first = true;
  return effect(() => {
    const node = page.store.analysis.walk.node.value;
    void page.store.analysis.question.value; // another question may start at the same node
    untracked(() => {
      if (!is_first) show_node(page);
      else if (node !== null) ask_node(page, node);
      is_first = false;
    });
  });
}

/** Nothing goes on being worked out that no one looks at. */
function give_up({ store }: Page): void {
  const { overview, paths, attributions } = store.analysis;
  overview.give_up();
  paths.give_up();
  attributions.keep_only(new Set());
}

/** While a run is being written nothing is asked by itself: a person presses the button. */
function follow_token(page: Page, state: WhyState): () => void {
  const { store } = page;
  return once_settled(REST_MS, () => {
    const pos = store.current_pos.value;
    const written = question_of(pos, state.target.value, state.distractor.value, state.against_mean.value);
    const rests = is_at_rest(store.run.value);
    const is_held = state.is_held.value;
    const tokens = store.tokens.value;
    const question = is_held ? { ...written, pos: store.analysis.question.peek()?.pos ?? pos } : written;
    // The token that follows: without one there is nothing to explain.
    if (!rests || question.pos < 0 || !tokens[question.pos + 1] || store.connection.value !== "open") return null;
    return () => explain(page, question);
  });
}

/** A head or a neuron that is clicked in the picture or chosen in a table. */
function follow_selection(page: Page): () => void {
  const { store } = page;
  let is_first = true;
  return effect(() => {
    const selection = store.selection.value;
    if (is_first) {
      is_first = false; // what was selected before the question was asked is not part of it
      return;
    }
    untracked(() => {
      const question = store.analysis.question.peek();
      const node = store.analysis.walk.node.peek();
      if (!selection || !question || node === null || same_component(component_of_node(node), selection)) return;
      go(page, node_of(selection, Math.min(store.current_pos.peek(), question.pos)));
    });
  });
}
