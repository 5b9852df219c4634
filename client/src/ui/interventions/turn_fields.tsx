// The numbers of an attention edit: a weight for each marked token, and what becomes of the rest of the row.
import type { JSX } from "preact";
import type { InterventionSpec } from "../../protocol/generated";
import { token_label } from "../format";
import { use_page } from "../page";
import { edit_of } from "./turn_draft";

interface Props {
  draft: InterventionSpec;
  edit(draft: InterventionSpec): void;
}

export function TurnFields({ draft, edit }: Props): JSX.Element {
  const { operation } = draft;
  const attention = edit_of(draft);
  const set = (changes: Partial<typeof attention>): void => edit({ ...draft, attention: { ...attention, ...changes } });
  if (operation === "attention_knockout") {
    return (
      <label class="check">
        <input type="checkbox" checked={attention.renormalise !== false}
          onChange={(event) => set({ renormalise: event.currentTarget.checked })} />
        scale the rest up to 100 %
      </label>
    );
  }
  return (
    <>
      <KeyWeights draft={draft} edit={edit} />
      {operation === "attention_set" && (
        <>
          <label class="field-row">
            <span>Others</span>
            <select value={attention.rest ?? "zero"} aria-label="What becomes of the other tokens"
              onChange={(event) => set({ rest: event.currentTarget.value as "zero" | "scaled" })}>
              <option value="zero">get nothing</option>
              <option value="scaled">share what is left of 1</option>
            </select>
          </label>
          {attention.rest !== "scaled" && (
            <label class="check">
              <input type="checkbox" checked={attention.renormalise !== false}
                onChange={(event) => set({ renormalise: event.currentTarget.checked })} />
              divide weights by their sum
            </label>
          )}
        </>
      )}
    </>
  );
}

/** Weights are all given or none: without any, marked tokens share equally. */
function KeyWeights({ draft, edit }: Props): JSX.Element {
  const { store } = use_page();
  const attention = edit_of(draft);
  const { keys, weights = [] } = attention;
  const equal = 1 / Math.max(1, keys.length);
  const write = (at: number, text: string): void => {
    const weight = text.trim() === "" ? NaN : Number(text);
    if (Number.isNaN(weight)) {
      edit({ ...draft, attention: { ...attention, weights: [] } });
      return;
    }
    const all = keys.map((_, i) => (i === at ? weight : (weights[i] ?? equal)));
    edit({ ...draft, attention: { ...attention, weights: all } });
  };
  if (keys.length === 0) return <p class="muted field-note">Marked tokens share equally; give weights once they are marked.</p>;
  return (
    <ul class="key-weights" aria-label="Weights">
      {keys.map((pos, at) => (
        <li key={pos} class="field-row">
          <span class="token">{token_label(store.tokens.value[pos]?.text ?? "?")}</span>
          <input type="number" class="pos-field" min={0} step={0.05} value={weights[at] ?? ""} placeholder={equal.toFixed(2)}
            aria-label={`Weight of position ${pos}; empty: equal shares`} onChange={(event) => write(at, event.currentTarget.value)} />
        </li>
      ))}
    </ul>
  );
}
