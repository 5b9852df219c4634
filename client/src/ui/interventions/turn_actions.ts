// An arc that was drawn in the picture becomes the draft of the Turn attention tab.
import { token_quote } from "../format";
import type { Page } from "../page";
import { ATTENTION_OPERATIONS, with_arc } from "./turn_draft";

/** Whether this model's attention can be changed at all, and there is a run to change it in. */
export function can_turn({ store }: Page): boolean {
  const known = store.model_info.peek()?.capabilities.operations ?? [];
  return store.run.peek() !== null && store.replay.peek() === null && ATTENTION_OPERATIONS.some(({ operation }) => known.includes(operation));
}

/** Let the token at `query` look at the one at `key`, beside what is marked for it, and show the tab that says so. */
export function draw_turn({ store, state }: Page, query: number, key: number): void {
  const { turn, turn_marks } = state.interventions;
  turn.value = with_arc(turn.peek(), turn_marks.peek() === "from_keys" ? "from_keys" : "keys", query, key);
  state.drawer_open.value = true;
  state.tab.value = "turn";
  const [who, whom] = [query, key].map((pos) => `${token_quote(store.tokens.peek()[pos]?.text ?? "")} (${pos})`);
  state.announcement.value = `Arc from ${who} to ${whom}`;
}
