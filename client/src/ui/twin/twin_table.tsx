// Every token with what both rows made of it; only the rows on the screen are built.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { TwinRow } from "../../store/twin";
import { number_text, percent_text, token_quote } from "../format";
import { use_page } from "../page";
import { use_virtual_rows } from "../drawer/virtual_rows";

const ROW_HEIGHT = 24;
const COLUMNS: { label: string; hint: string }[] = [
  { label: "After", hint: "The token that was read last" },
  { label: "This run said", hint: "The token that this run chose" },
  { label: "here", hint: "Its probability in this run" },
  { label: "clean", hint: "Its probability in the clean twin" },
  { label: "KL, nat", hint: "KL divergence of this run's prediction from the clean twin's; bars on a square-root scale" },
  { label: "Clean says", hint: "The clean twin's likeliest token, where it is another" },
];

export function TwinTable({ rows }: { rows: readonly TwinRow[] }): JSX.Element {
  const { store } = use_page();
  const scroller = useRef<HTMLDivElement>(null);
  const view = use_virtual_rows(scroller, rows.length, ROW_HEIGHT, ROW_HEIGHT);
  const at = rows.findIndex((row) => row.pos === store.current_pos.value);
  useEffect(() => {
    if (at >= 0) view.reveal(at);
  }, [at]);
  const largest = rows.reduce((most, { kl }) => Math.max(most, kl), 1e-9);
  return (
    <div class="twin-table" role="table" aria-label="Both rows, token by token" aria-rowcount={rows.length + 1} tabIndex={0} ref={scroller}>
      <div role="rowgroup" class="twin-head">
        <div role="row" aria-rowindex={1} class="twin-row">
          {COLUMNS.map(({ label, hint }) => <div role="columnheader" key={label} title={hint}>{label}</div>)}
        </div>
      </div>
      <div role="rowgroup" class="twin-rows" style={{ height: `${view.height}px` }}>
        {rows.slice(view.first, view.first + view.n_visible).map((row, i) => (
          <Row key={row.pos} row={row} index={view.first + i} top={view.top_of(view.first + i)} largest={largest} />
        ))}
      </div>
    </div>
  );
}

function Row({ row, index, top, largest }: { row: TwinRow; index: number; top: number; largest: number }): JSX.Element {
  const { store, actions } = use_page();
  const { pos, text, chosen_text, prob, clean_prob, kl, prefers_text } = row;
  const is_shown = store.current_pos.value === pos;
  return (
    <div role="row" aria-rowindex={index + 2} class="twin-row" data-shown={is_shown || undefined}
      style={{ transform: `translateY(${top}px)` }}>
      <div role="cell">
        <button type="button" class="link" aria-current={is_shown || undefined} title={`Show position ${pos}`}
          onClick={() => actions.select_pos(pos)}>{pos} {token_quote(text)}</button>
      </div>
      <div role="cell">{chosen_text === null ? "–" : token_quote(chosen_text)}</div>
      <div role="cell" class="number">{percent_text(prob)}</div>
      <div role="cell" class="number">{percent_text(clean_prob)}</div>
      <div role="cell" class="number twin-kl">
        <span class="twin-kl-track"><i style={{ width: `${100 * Math.sqrt(kl / largest)}%` }} /></span>
        <span class="twin-kl-value">{number_text(kl)}</span>
      </div>
      <div role="cell">{prefers_text !== null && token_quote(prefers_text)}</div>
    </div>
  );
}
