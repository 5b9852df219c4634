// A head's attention row as numbers: which tokens it reads from the shown one.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { missing_channel } from "../../store/capabilities";
import { use_attention_row } from "./exact_attention";
import { percent_text, token_label } from "../format";
import { use_page } from "../page";
import type { Shown } from "../shown_step";

const SHOWN_KEYS = 64;

export function AttendedKeys({ layer, head, shown }: { layer: number; head: number; shown: Shown }): JSX.Element {
  const { store, actions, state } = use_page();
  const by_weight = useSignal(true);
  const { pos } = shown.step.value;
  const row = use_attention_row(layer, head, shown);
  const missing = missing_channel(store, "attention");
  const tokens = store.tokens.value;
  const keys = [...(row?.keys ?? [])].sort((a, b) => b.weight - a.weight).slice(0, SHOWN_KEYS);
  if (!by_weight.value) keys.sort((a, b) => a.pos - b.pos);
  return (
    <>
      <div class="section-head">
        <h3>Reads from {row && <span class="tag">{row.exact ? "exact" : "8-bit"}</span>}</h3>
        <button type="button" class="button small" onClick={() => (by_weight.value = !by_weight.value)}
          title="Change the order">{by_weight.value ? "by weight" : "by position"}</button>
        <button type="button" class="button small" onClick={() => {
          state.drawer_open.value = true;
          state.tab.value = "attention";
        }}>All tokens</button>
      </div>
      {missing && <p class="muted">{missing}</p>}
      {!missing && !row && <p class="muted">No attention row of this token has arrived.</p>}
      <ol class="key-list" aria-label={`Attention of L${layer}H${head} at position ${pos}`}>
        {keys.map((key) => (
          <li key={key.pos}>
            <button type="button" onClick={() => actions.select_pos(key.pos)} title={`Show position ${key.pos}`}>
              <span class="bar" style={{ width: `${100 * key.weight}%` }} />
              <span class="key-pos">{key.pos}</span>
              <span class="token">{token_label(tokens[key.pos]?.text ?? "?")}</span>
              <span class="prob">{percent_text(key.weight)}</span>
            </button>
          </li>
        ))}
      </ol>
      {row && row.rest > 0 && <p class="muted">All other tokens together: {percent_text(row.rest)}</p>}
    </>
  );
}
