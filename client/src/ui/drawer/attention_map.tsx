// Where the selected head looks, over the whole text: each row a token that looks, each column one looked at.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colour_map } from "../../layout/colour";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import { missing_channel } from "../../store/capabilities";
import { attention_row, each_weight } from "../../store/query";
import type { Store } from "../../store/store";
import { axis_labels } from "./axis_labels";
import { percent_text, token_quote, word_label } from "../format";
import { use_page } from "../page";
import { cell_under, paint_pattern } from "../parts/paint";
import { throttled, type Shown } from "../shown_step";

const DRAW_MS = 250;
/** Width of a column that has room for its token's name, CSS pixels. */
const COLUMN_PX = 14;

interface Cell {
  query: number;
  key: number;
}

export function AttentionMap({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const selection = store.selection.value;
  const missing = missing_channel(store, "attention");
  if (missing) return <p class="muted pad">This model gives no attention: {missing}</p>;
  if (selection?.kind !== "head") {
    return <p class="muted pad">Select an attention head (a disc in the picture, or a row such as L12H3) to see where it looks.</p>;
  }
  return <HeadMap key={component_id(selection)} head={selection} shown={shown} />;
}

function HeadMap({ head, shown }: { head: Component; shown: Shown }): JSX.Element {
  const { store, actions } = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const hovered = useSignal<Cell | null>(null);
  const size = useSignal({ width: 0, height: 0 });
  const theme = store.theme.value;
  useEffect(() => {
    const redraw = throttled(() => canvas.current && draw(canvas.current, store, head), DRAW_MS);
    return shown.version.subscribe(redraw);
  }, [theme]);
  useEffect(() => watch_size(plot.current, (width, height) => (size.value = { width, height })), []);
  const n = store.history.newest_pos + 1;
  const cell_at = (event: MouseEvent): Cell | null => {
    const cell = canvas.current && cell_under(event, canvas.current, n, n);
    return cell && { query: cell.row, key: cell.column };
  };
  const pos = shown.step.value.pos;
  return (
    <div class="attention-map">
      <div class="map-frame" style={{ "--plot-width": `${Math.max(size.value.height, n * COLUMN_PX)}px` }}>
        <AxisNames n={n} side="rows" length_px={size.value.height} kept={[hovered.value?.query ?? pos, pos]} />
        <div class="map-plot" ref={plot}>
          <canvas ref={canvas} role="img" aria-label={`Attention of ${component_id(head)} over ${n} tokens`}
            onMouseMove={(event) => (hovered.value = cell_at(event))} onMouseLeave={() => (hovered.value = null)}
            onClick={(event) => actions.select_pos(cell_at(event)?.query ?? pos)} />
          {n > 0 && pos >= 0 && <i class="map-row" style={{ top: `${(100 * pos) / n}%`, height: `${100 / n}%` }} />}
        </div>
        <AxisNames n={n} side="columns" length_px={size.value.width} kept={hovered.value ? [hovered.value.key] : []} />
      </div>
      <Reading head={head} cell={hovered.value} pos={pos} />
    </div>
  );
}

/** Tell the size of `element`, now and whenever it changes, until the returned function is called. */
export function watch_size(element: HTMLElement | null, told: (width: number, height: number) => void): (() => void) | undefined {
  if (!element || typeof ResizeObserver === "undefined") return undefined;
  const watcher = new ResizeObserver(() => told(element.clientWidth, element.clientHeight));
  watcher.observe(element);
  return () => watcher.disconnect();
}

/** The tokens along one side of the map; the first of `kept` is the one pointed at, or else shown. */
export function AxisNames({ n, side, length_px, kept }: {
  n: number; side: "rows" | "columns"; length_px: number; kept: number[];
}): JSX.Element {
  const { store } = use_page();
  const tokens = store.tokens.value;
  const along = side === "rows" ? "top" : "left";
  return (
    <div class="map-names" data-side={side} aria-hidden="true">
      {axis_labels(n, length_px, kept).map((pos) => (
        <span key={pos} style={{ [along]: `${(100 * (pos + 0.5)) / n}%` }} data-marked={pos === kept[0] || undefined}>
          {word_label(tokens[pos]?.text ?? "")}
        </span>
      ))}
    </div>
  );
}

function Reading({ head, cell, pos }: { head: Component; cell: Cell | null; pos: number }): JSX.Element {
  const { store } = use_page();
  const tokens = store.tokens.value;
  const query = cell?.query ?? pos;
  const row = attention_row(store.history.get(query), head.layer, head.index);
  const text = (at: number): string => `${at} ${token_quote(tokens[at]?.text ?? "")}`;
  const top = [...(row?.keys ?? [])].sort((a, b) => b.weight - a.weight).slice(0, 5);
  const weight = cell && row?.keys.find((key) => key.pos === cell.key)?.weight;
  return (
    <div class="map-reading">
      <h3>{component_id(head)} at {query >= 0 ? text(query) : "–"}</h3>
      <p class="muted">
        {cell && cell.key <= cell.query ? `looks at ${text(cell.key)}: ${percent_text(weight)}` : "Rows look, columns are looked at. Point at a cell; click shows its token."}
      </p>
      <ol class="plain">
        {top.map((key) => <li key={key.pos}>{text(key.pos)} <span class="prob">{percent_text(key.weight)}</span></li>)}
      </ol>
    </div>
  );
}

function draw(canvas: HTMLCanvasElement, store: Store, head: Component): void {
  const n = store.history.newest_pos + 1;
  const { lut } = colour_map("activation", store.theme.peek());
  paint_pattern(canvas, n, lut, (put) => {
    for (let pos = 0; pos < n; pos++) {
      each_weight(store.history.get(pos), head.layer, head.index, (key_pos, weight) => put(pos, key_pos, weight));
    }
  });
}
