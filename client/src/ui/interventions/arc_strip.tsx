// The text in one line with arcs above it: faint where the heads look now, strong where they are to look. Drag from
// the token that looks to the one it is to look at; or click one after the other.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { InterventionSpec } from "../../protocol/generated";
import { percent_text, token_quote, word_label } from "../format";
import { use_page } from "../page";
import { edit_of, query_of, type MarkMode } from "./turn_draft";

const HEIGHT = 84;
const FAINTEST = 0.02;

interface Props {
  draft: InterventionSpec;
  /** The token whose attention is shown. */
  shown_query: number;
  weights: ReadonlyMap<number, number>;
  on_mark(pos: number): void;
  on_drag(from: number, to: number): void;
}

interface Drag {
  from: number;
  x: number;
  start_x: number;
  has_moved: boolean;
}

export function ArcStrip({ draft, shown_query, weights, on_mark, on_drag }: Props): JSX.Element {
  const { store } = use_page();
  const row = useRef<HTMLDivElement>(null);
  const middles = useSignal<readonly number[]>([]);
  const drag = useSignal<Drag | null>(null);
  /** The token that Tab comes to; arrows go on from there. */
  const reached = useSignal<number | null>(null);
  const tokens = store.tokens.value;
  const edit = edit_of(draft);
  const query = query_of(draft);
  const measure = (): void => {
    const buttons = row.current?.querySelectorAll<HTMLElement>("button") ?? [];
    middles.value = Array.from(buttons, (button) => button.offsetLeft + button.offsetWidth / 2);
  };
  useLayoutEffect(measure, [tokens.length]);
  useEffect(() => reveal(row.current, shown_query), [shown_query]);
  const pos_at = (event: PointerEvent): number | null => {
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>(".arc-row button");
    return under ? Number(under.dataset["pos"]) : null;
  };
  const end = (event: PointerEvent): void => {
    const held = drag.peek();
    drag.value = null;
    const to = pos_at(event);
    if (held?.has_moved && to !== null && to !== held.from) on_drag(Math.max(held.from, to), Math.min(held.from, to));
  };
  const mark_of = (pos: number): string | undefined =>
    pos === query ? "query" : edit.keys.includes(pos) ? "key" : edit.from_keys?.includes(pos) ? "from" : undefined;
  const tab_stop = Math.min(reached.value ?? shown_query, tokens.length - 1);
  const walk = (event: KeyboardEvent): void => {
    const moves: Record<string, number> = { ArrowLeft: tab_stop - 1, ArrowRight: tab_stop + 1, Home: 0, End: tokens.length - 1 };
    const to = moves[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    reached.value = Math.max(0, Math.min(tokens.length - 1, to));
    row.current?.querySelector<HTMLElement>(`[data-pos="${reached.value}"]`)?.focus();
  };
  const at = (pos: number): number => middles.value[pos] ?? 0;
  const from_x = at(query ?? shown_query);
  return (
    <div class="arc-strip">
      <div class="arc-scroll">
        <svg class="arcs" width={Math.max(1, (middles.value.at(-1) ?? 0) + 60)} height={HEIGHT} aria-hidden="true">
          {[...weights].filter(([pos, weight]) => weight >= FAINTEST && pos !== shown_query).map(([pos, weight]) => (
            <path key={`w${pos}`} class="arc-now" d={arc(at(shown_query), at(pos))} style={{ opacity: 0.15 + 0.75 * Math.sqrt(weight), strokeWidth: 1 + 5 * weight }} />
          ))}
          {(edit.from_keys ?? []).map((pos) => <path key={`f${pos}`} class="arc-from" d={arc(from_x, at(pos))} />)}
          {edit.keys.map((pos) => (
            <path key={`k${pos}`} class={draft.operation === "attention_knockout" ? "arc-from" : "arc-to"} d={arc(from_x, at(pos))} />
          ))}
          {drag.value?.has_moved && <path class="arc-drag" d={arc(at(drag.value.from), drag.value.x)} />}
        </svg>
        <div class="arc-row" ref={row} role="group" aria-label="Tokens to mark" onPointerMove={(event) => {
          const held = drag.peek();
          if (!held) return;
          const box = row.current!.getBoundingClientRect();
          const has_moved = held.has_moved || Math.abs(event.clientX - held.start_x) > 4;
          drag.value = { ...held, x: event.clientX - box.left, has_moved };
        }} onKeyDown={walk} onPointerUp={end} onPointerCancel={() => (drag.value = null)}>
          {tokens.map((chip) => (
            <button type="button" key={chip.pos} data-pos={chip.pos} data-mark={mark_of(chip.pos)} class="arc-token"
              tabIndex={chip.pos === tab_stop ? 0 : -1} onFocus={() => (reached.value = chip.pos)}
              aria-pressed={mark_of(chip.pos) !== undefined} title={`${chip.pos} ${token_quote(chip.text)} ${weights.has(chip.pos) ? percent_text(weights.get(chip.pos)) : ""}`}
              onPointerDown={(event) => {
                if (event.button !== 0) return;
                (event.target as HTMLElement).releasePointerCapture?.(event.pointerId);
                drag.value = { from: chip.pos, x: at(chip.pos), start_x: event.clientX, has_moved: false };
              }}
              onClick={() => on_mark(chip.pos)}>{word_label(chip.text)}</button>
          ))}
        </div>
      </div>
    </div>
  );
}

/** A half-oval over two places in the row. */
function arc(from: number, to: number): string {
  const top = HEIGHT - Math.min(HEIGHT - 4, 12 + Math.abs(from - to) * 0.35) * 1.3;
  return `M${from},${HEIGHT} Q${(from + to) / 2},${Math.max(-HEIGHT * 0.3, top)} ${to},${HEIGHT}`;
}

function reveal(row: HTMLElement | null, pos: number): void {
  const button = row?.querySelector<HTMLElement>(`[data-pos="${pos}"]`);
  const scroller = row?.parentElement;
  if (!button || !scroller) return;
  const [left, right] = [button.offsetLeft, button.offsetLeft + button.offsetWidth];
  if (left < scroller.scrollLeft || right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = right - scroller.clientWidth + 40;
}

export const MARK_MODES: { mode: MarkMode; label: string; hint: string }[] = [
  { mode: "query", label: "Who looks", hint: "The token whose attention is changed, and all after it" },
  { mode: "keys", label: "Looks at", hint: "The tokens that are to be looked at" },
  { mode: "from_keys", label: "Instead of", hint: "The tokens from which the weight is taken; none: from all" },
];
