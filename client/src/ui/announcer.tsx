// New tokens for screen readers: told in phrases every few seconds, not one by one.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { use_page } from "./page";
import { throttled } from "./shown_step";

const PHRASE_MS = 3_000;

export function Announcer(): JSX.Element {
  const { store, state } = use_page();
  const phrase = useSignal("");
  useEffect(() => {
    let told = 0;
    const tell = throttled(() => {
      const tokens = store.tokens.peek();
      const n_prompt = store.run.peek()?.n_prompt_tokens ?? 0;
      if (tokens.length <= told) told = Math.min(tokens.length, n_prompt);
      const fresh = tokens.slice(Math.max(told, n_prompt)).map((token) => token.text).join("");
      told = tokens.length;
      if (fresh) phrase.value = fresh;
    }, PHRASE_MS);
    return store.tokens.subscribe(tell);
  }, []);
  return (
    <>
      <div class="visually-hidden" aria-live="polite" id="new-text">{phrase.value}</div>
      <div class="visually-hidden" role="status">{state.announcement.value}</div>
    </>
  );
}
