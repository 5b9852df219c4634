// At which tokens an intervention acts: from now on, a range, everywhere, or only at certain tokens.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Positions } from "../../protocol/generated";
import type { Store } from "../../store/store";
import { token_label, token_quote } from "../format";
import { use_page } from "../page";
import { NumberWritten } from "../written_field";

interface Props {
  positions: Positions | undefined;
  /** Told what becomes of them as they are, which may be more than was drawn. */
  edit(change: (positions: Positions | undefined) => Positions): void;
}

export function PositionsField({ positions, edit }: Props): JSX.Element {
  const { store } = use_page();
  const pos = Math.max(0, store.current_pos.value);
  const here = store.tokens.value[pos];
  const scope = positions?.scope ?? "from_now";
  const begin = (next: string): void => {
    if (next === "range") edit(() => ({ scope: "range", from_pos: pos, to_pos: null }));
    else if (next === "tokens") edit(() => ({ scope: "tokens", token_ids: here ? [here.token_id] : [] }));
    else edit(() => ({ scope: next === "all" ? "all" : "from_now" }));
  };
  return (
    <div class="positions-field">
      <label class="field-row">
        <span>At</span>
        <select value={scope} aria-label="At which tokens" onChange={(event) => begin(event.currentTarget.value)}>
          <option value="from_now">every token from now on</option>
          <option value="range">a range of tokens</option>
          <option value="all">every token of the text</option>
          <option value="tokens">certain tokens only</option>
        </select>
      </label>
      {scope === "range" && <RangeFields positions={positions!} edit={(range) => edit(() => range)} />}
      {scope === "tokens" && <TokenFields ids={positions?.token_ids ?? []} edit={edit} store={store} />}
      {scope === "all" && <p class="muted field-note">The text so far is computed again for it.</p>}
    </div>
  );
}

function RangeFields({ positions, edit }: { positions: Positions; edit(positions: Positions): void }): JSX.Element {
  const { store } = use_page();
  const tokens = store.tokens.value;
  const pos = Math.max(0, store.current_pos.value);
  const { from_pos = 0, to_pos = null } = positions;
  const read = (text: string): number | null => (/^\d{1,9}$/.test(text.trim()) ? Number(text) : null);
  const [first, last] = [useRef<HTMLInputElement>(null), useRef<HTMLInputElement>(null)];
  // Both fields are read as they stand: who types quickly fills the second before the first was drawn again.
  const read_both = (): void => {
    const to = read(last.current!.value);
    edit({ scope: "range", from_pos: read(first.current!.value) ?? 0, to_pos: to === null ? null : to + 1 });
  };
  const named = (at: number): string => (tokens[at] ? token_quote(tokens[at].text) : "still to come");
  return (
    <>
      <div class="field-row">
        <label>from <NumberWritten class="pos-field" min={0} step={1} value={from_pos} aria-label="First position"
          field={first} on_written={read_both} /></label>
        <label>to <NumberWritten class="pos-field" min={0} step={1} value={to_pos === null ? "" : to_pos - 1}
          placeholder="end" aria-label="Last position; empty: without an end" field={last} on_written={read_both} /></label>
        <button type="button" class="button small" title="From the shown token on"
          onClick={() => edit({ scope: "range", from_pos: pos, to_pos: null })}>here on</button>
        <button type="button" class="button small" title="Only at the shown token"
          onClick={() => edit({ scope: "range", from_pos: pos, to_pos: pos + 1 })}>here only</button>
      </div>
      <p class="muted field-note">
        {named(from_pos)} {to_pos === null ? "and all after it" : to_pos === from_pos + 1 ? "only" : `to ${named(to_pos - 1)}`}
        {from_pos <= store.history.newest_pos && ": read already, so the text is computed again"}
      </p>
    </>
  );
}

/** The tokens a person can name: those of the text and those that might have come next. */
function known_tokens(store: Store): Map<string, number> {
  const known = new Map<string, number>();
  const step = store.history.get(store.current_pos.value);
  for (const top of step?.top_tokens ?? []) known.set(top.text, top.token_id);
  for (const chip of store.tokens.value) if (chip.text !== "") known.set(chip.text, chip.token_id);
  return known;
}

function TokenFields({ ids, edit, store }: { ids: number[]; edit: Props["edit"]; store: Store }): JSX.Element {
  const known = known_tokens(store);
  const name = (id: number): string => [...known].find(([, other]) => other === id)?.[0] ?? `#${id}`;
  const set = (change: (ids: number[]) => number[]): void =>
    edit((positions) => ({ scope: "tokens", token_ids: change(positions?.token_ids ?? []) }));
  return (
    <div class="token-fields">
      <ul class="picked-list" aria-label="Tokens at which it acts">
        {ids.map((id) => (
          <li key={id}>
            <button type="button" class="picked" aria-label={`Not at ${token_quote(name(id))}`}
              onClick={() => set((held) => held.filter((other) => other !== id))}>
              <span class="token">{token_label(name(id))}</span> ×
            </button>
          </li>
        ))}
      </ul>
      <select value="" aria-label="Add a token" onChange={(event) => {
        const id = Number(event.currentTarget.value);
        event.currentTarget.value = "";
        set((held) => (held.includes(id) ? held : [...held, id]));
      }}>
        <option value="">Add a token…</option>
        {[...known].filter(([, id]) => !ids.includes(id)).map(([text, id]) => <option key={id} value={id}>{token_label(text)}</option>)}
      </select>
    </div>
  );
}
