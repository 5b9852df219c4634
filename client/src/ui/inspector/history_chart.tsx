// A component's value at every token, as bars on a canvas: hover reads one, click shows that token.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { TokenChip } from "../../store/types";
import type { ComponentHistory } from "./exact_history";
import { number_text, token_quote } from "../format";
import { use_page } from "../page";

interface Props {
  history: ComponentHistory;
  pos: number;
  tokens: readonly TokenChip[];
  on_pick: (pos: number) => void;
}

const HEIGHT = 84;

interface Extent {
  low: number;
  high: number;
}

function extent_of(history: ComponentHistory): Extent {
  let [low, high] = [0, 0];
  for (const { value } of history.values.values()) {
    if (value < low) low = value;
    if (value > high && value < Infinity) high = value;
  }
  return high === low ? { low, high: low + 1 } : { low, high };
}

export function HistoryChart({ history, pos, tokens, on_pick }: Props): JSX.Element {
  const { store } = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const hovered = useSignal<number | null>(null);
  const theme = store.theme.value;
  const extent = extent_of(history);
  useEffect(() => {
    if (canvas.current) draw(canvas.current, history, extent, pos, hovered.value);
  }, [history, pos, hovered.value, theme]);
  const pos_at = (event: MouseEvent): number => {
    const box = canvas.current!.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * Math.max(1, history.n_positions));
  };
  const read = hovered.value ?? pos;
  const value = history.values.get(read);
  return (
    <div class="history-chart">
      <canvas ref={canvas} height={HEIGHT} style={{ height: `${HEIGHT}px` }} role="img"
        aria-label={`Values at ${history.values.size} tokens, from ${number_text(extent.low)} to ${number_text(extent.high)}`}
        onMouseMove={(event) => (hovered.value = pos_at(event))} onMouseLeave={() => (hovered.value = null)}
        onClick={(event) => on_pick(pos_at(event))} />
      <span class="chart-high">{number_text(extent.high)}</span>
      <span class="chart-low">{number_text(extent.low)}</span>
      <p class="chart-read muted">
        {tokens[read] ? `${read} ${token_quote(tokens[read].text)}: ${number_text(value?.value, 4)}` : " "}
      </p>
    </div>
  );
}

function draw(canvas: HTMLCanvasElement, history: ComponentHistory, extent: Extent, pos: number, hovered: number | null) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.round(HEIGHT * ratio);
  const context = canvas.getContext("2d");
  if (!context) return;
  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const [read_colour, below, above] = [colour("--accent"), colour("--negative"), colour("--bar")];
  context.scale(ratio, ratio);
  const y_of = (value: number): number => 4 + (1 - (value - extent.low) / (extent.high - extent.low)) * (HEIGHT - 8);
  const slot = width / Math.max(1, history.n_positions);
  const bar = Math.max(1, Math.min(14, slot - (slot > 4 ? 1.5 : 0)));
  for (const [at, { value }] of history.values) {
    const is_read = at === pos || at === hovered;
    context.fillStyle = is_read ? read_colour : value < 0 ? below : above;
    const [top, bottom] = Number.isFinite(value) ? [y_of(Math.max(0, value)), y_of(Math.min(0, value))]
      : [4, HEIGHT - 4];
    context.fillRect(at * slot + (slot - bar) / 2, top, bar, Math.max(1, bottom - top));
  }
  context.fillStyle = colour("--line-strong");
  context.fillRect(0, y_of(0), width, 1);
}
