// All heads at once, layers by heads: blue takes away, orange adds. A click walks to the head.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colour_map } from "../../layout/colour";
import { node_of } from "../../layout/node_id";
import type { OverviewAnswer } from "../../protocol/questions";
import type { Theme } from "../../store/types";
import { signed_text } from "../format";
import { use_page } from "../page";
import { cell_under, largest_size, paint_cells } from "../parts/paint";
import { go } from "./why_actions";

type Which = "direct" | "relevance";
interface Cell {
  layer: number;
  head: number;
}

export function HeadMap({ overview }: { overview: OverviewAnswer }): JSX.Element {
  const page = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const which = useSignal<Which>("direct");
  const cell = useSignal<Cell | null>(null);
  const tensor = which.value === "direct" ? overview.direct_heads : overview.relevance_heads;
  const [n_layers = 1, n_heads = 1] = tensor.shape;
  const theme = page.store.theme.value;
  useEffect(() => {
    if (canvas.current) draw(canvas.current, tensor.values, n_layers, n_heads, theme);
  }, [tensor, theme]);
  const move = (event: KeyboardEvent): void => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const now = cell.value ?? { layer: 0, head: 0 };
    if (event.key === "Enter" || event.key === " ") choose(now);
    else if (!by) return;
    else {
      cell.value = {
        layer: Math.max(0, Math.min(n_layers - 1, now.layer + by[0]!)),
        head: Math.max(0, Math.min(n_heads - 1, now.head + by[1]!)),
      };
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const choose = ({ layer, head }: Cell): void =>
    go(page, node_of({ kind: "head", layer, index: head }, overview.metric.pos));
  const cell_at = (event: MouseEvent): Cell | null => {
    const at = canvas.current && cell_under(event, canvas.current, n_heads, n_layers);
    return at && { layer: at.column, head: at.row };
  };
  const read = cell.value;
  const apart = Math.ceil(n_layers / 15);
  const ticks = Array.from({ length: Math.ceil(n_layers / apart) }, (_, i) => i * apart);
  return (
    <div class="head-map">
      <p class="muted">
        <label><span class="visually-hidden">Show</span>
          <select value={which.value} onChange={(event) => (which.value = event.currentTarget.value as Which)}>
            <option value="direct">Straight to the logits, at this token</option>
            <option value="relevance">Through every path and token</option>
          </select>
        </label>{" "}
        {read ? <b>L{read.layer}H{read.head} {signed_text(tensor.values[read.layer * n_heads + read.head])}</b>
          : "Columns are layers, rows are heads. Click one to walk to it."}
      </p>
      <canvas ref={canvas} tabIndex={0} role="img" onKeyDown={move}
        aria-label={`Contribution of ${n_layers} layers of ${n_heads} heads; arrow keys choose one, Enter walks to it`}
        style={{ aspectRatio: `${n_layers} / ${n_heads}` }} onMouseMove={(event) => (cell.value = cell_at(event))}
        onMouseLeave={() => (cell.value = null)} onClick={(event) => {
          const at = cell_at(event);
          if (at) choose(at);
        }} />
      <div class="head-map-ticks" aria-hidden="true">
        {ticks.map((layer) => <span key={layer} style={{ left: `${(100 * (layer + 0.5)) / n_layers}%` }}>L{layer}</span>)}
      </div>
    </div>
  );
}

function draw(
  canvas: HTMLCanvasElement, values: ArrayLike<number> & Iterable<number>, n_layers: number, n_heads: number, theme: Theme,
): void {
  const { lut } = colour_map("direct_logit", theme);
  const largest = largest_size(values, 1e-12);
  paint_cells(canvas, n_heads, n_layers, lut, (head, layer) => {
    const share = values[layer * n_heads + head]! / largest;
    // Square root: weak heads stay visible beside the strongest.
    return 0.5 + (Math.sign(share) * Math.sqrt(Math.abs(share))) / 2;
  });
}
