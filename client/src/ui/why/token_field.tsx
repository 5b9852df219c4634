// A token as text, with the likeliest ones at the shown position to choose from; empty is the default that the server takes.
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useId } from "preact/hooks";
import { use_page } from "../page";

interface Props {
  label: string;
  value: Signal<string>;
  /** What the default is, or comes to. */
  placeholder: string;
  disabled?: boolean;
}

export function TokenField({ label, value, placeholder, disabled }: Props): JSX.Element {
  const { store } = use_page();
  const list = useId();
  const step = store.history.get(store.current_pos.value);
  return (
    <>
      <input type="text" class="why-token" aria-label={label} list={list} value={value.value} disabled={disabled}
        placeholder={placeholder} spellcheck={false} autocomplete="off"
        title={`${label}: write it with its space, for instance “ Mary”; empty takes the default`}
        onChange={(event) => (value.value = event.currentTarget.value)} />
      <datalist id={list}>
        {(step?.top_tokens ?? []).map((top) => <option key={top.token_id} value={top.text} />)}
      </datalist>
    </>
  );
}
