// The numbers of an attention edit: a weight for each marked token, and what becomes of the rest of the row.
import type { JSX } from "preact";
import type { AttentionEdit, InterventionSpec } from "../../protocol/generated";
import { token_label } from "../format";
import { use_page } from "../page";
import { NumberWritten } from "../written_field";
import { weights_problem } from "./draft";
import { edit_of } from "./turn_draft";

interface Props {
  draft: InterventionSpec;
  /** Told what becomes of the draft as it is, which may be more than was drawn. */
  edit(change: (draft: InterventionSpec) => InterventionSpec): void;
}

export function TurnFields({ draft, edit }: Props): JSX.Element {
  const { operation } = draft;
  const attention = edit_of(draft);
  const set = (changes: Partial<AttentionEdit>): void => edit((held) => ({ ...held, attention: { ...edit_of(held), ...changes } }));
  const renormalise = (label: string): JSX.Element => (
    <label class="check">
      <input type="checkbox" checked={attention.renormalise !== false}
        onChange={(event) => set({ renormalise: event.currentTarget.checked })} />
      {label}
    </label>
  );
  if (operation === "attention_knockout") return renormalise("scale the rest up to 100 %");
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
          {attention.rest !== "scaled" && renormalise("divide weights by their sum")}
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
  const problem = weights_problem(attention);
  const set = (change: (held: AttentionEdit) => number[]): void =>
    edit((held) => ({ ...held, attention: { ...edit_of(held), weights: change(edit_of(held)) } }));
  const write = (pos: number, text: string): void => {
    const weight = text.trim() === "" ? 0 : Number(text);
    set(({ keys: marked, weights: given = [] }) => marked.map((other, i) => (other === pos ? weight : (given[i] ?? equal))));
  };
  if (keys.length === 0) return <p class="muted field-note">Marked tokens share equally; give weights once they are marked.</p>;
  return (
    <>
      <ul class="key-weights" aria-label="Weights">
        {keys.map((pos, at) => (
          <li key={pos} class="field-row">
            <span class="token">{token_label(store.tokens.value[pos]?.text ?? "?")}</span>
            <NumberWritten class="pos-field" min={0} step={0.05} value={weights[at] ?? ""} placeholder={equal.toFixed(2)}
              aria-invalid={(weights[at] ?? 0) < 0 || undefined}
              aria-label={`Weight of position ${pos}; empty: equal shares`} on_written={(text) => write(pos, text)} />
          </li>
        ))}
      </ul>
      {weights.length > 0 && (
        <button type="button" class="button small" onClick={() => set(() => [])}>Equal shares</button>
      )}
      {problem && <p class="field-problem" role="alert">{problem}</p>}
    </>
  );
}
