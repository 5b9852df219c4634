// Why what a person did was refused: beside the control that did it, as long as that is there.
import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Told } from "../connection/requests";
import { add_notice } from "../store/store";
import { use_page } from "./page";

export interface RefusalPlace {
  /** What stands there; null: nothing was refused. */
  words: Signal<string | null>;
  /** Begin anew: the place is empty until what this returns is told something. */
  anew(): Told;
}

/** A place for refusals; what comes when it is gone is told in a message. `about` another thing, it is empty. */
export function use_refusal(about = ""): RefusalPlace {
  const { store } = use_page();
  const words = useSignal<string | null>(null);
  const n_left = useRef(0);
  useEffect(() => () => {
    n_left.current += 1;
    words.value = null;
  }, [about]);
  const anew = (): Told => {
    const n_left_then = n_left.current;
    words.value = null;
    return (why) => {
      if (n_left.current === n_left_then) words.value = why;
      else add_notice(store, "fault", why);
    };
  };
  return { words, anew };
}

export function RefusalWords({ words }: Pick<RefusalPlace, "words">): JSX.Element | null {
  return words.value === null ? null : <p class="field-problem" role="alert">{words.value}</p>;
}
