// A profile of the selected part: asked while somebody looks, asked anew when the run rests somewhere else.
import { useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { AnswerTo, Question } from "../../protocol/questions";
import { Inquiry, type Slot } from "../../store/inquiry";
import { is_at_rest } from "../../store/rest";
import type { Store } from "../../store/store";
import { use_page } from "../page";

const REST_MS = 250;

export interface Profile<A> {
  slot: Slot<A>;
  /** The run, or the token that is looked at, is no longer the one that the answer is about. */
  is_stale: boolean;
  again(): void;
}

/** What an answer is about: this text under this revision. */
function moment_of(store: Store): string {
  const run = store.run.value;
  return run ? `${run.run_id} ${run.revision} ${store.tokens.value.length}` : "";
}

/**
 * The answer to `question`, asked on mounting and given up on leaving. While a run computes, an answer is left as
 * it is and said to be stale; once the run rests, what changed is asked again.
 */
export function use_profile<Q extends Question>(question: Q): Profile<AnswerTo<Q>> {
  const { store, actions } = use_page();
  const inquiry = useMemo(() => new Inquiry<Q>(), []);
  const asked = useSignal("");
  const moment = `${moment_of(store)} ${JSON.stringify(question)}`;
  const again = (): void => {
    asked.value = moment;
    void inquiry.ask(actions.ask, question);
  };
  const run = store.run.value;
  const rests = is_at_rest(run);
  useEffect(() => {
    if (run === null || moment === asked.peek() || (asked.peek() !== "" && !rests)) return undefined;
    if (asked.peek() === "") {
      again();
      return undefined;
    }
    const timer = setTimeout(again, REST_MS);
    return () => clearTimeout(timer);
  }, [moment, rests, run === null]);
  useEffect(() => () => inquiry.give_up(), []);
  const slot = (inquiry.slot as ReadonlySignal<Slot<AnswerTo<Q>>>).value;
  const is_stale = slot.answer !== null && moment !== asked.value;
  // Of another run nothing is shown: its tokens are no longer on the page.
  const is_own = slot.answer?.run_id === run?.run_id;
  return { slot: is_own ? slot : { ...slot, answer: null }, is_stale, again };
}
