// A head's whole pattern in this run, exact: each row a token that looks, each column one looked at.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colour_map } from "../../layout/colour";
import type { HostTensor } from "../../store/types";
import { AxisNames, watch_size } from "../drawer/attention_map";
import { percent_text, token_quote } from "../format";
import { use_page } from "../page";
import { cell_under, paint_pattern } from "./paint";

interface Props {
  id: string;
  /** float [n, n], query by key. */
  pattern: HostTensor;
  query_pos: number;
  /** The key that was asked for, if one was. */
  key_pos: number | null;
  on_pick_key(key_pos: number): void;
}

export function PatternMap({ id, pattern, query_pos, key_pos, on_pick_key }: Props): JSX.Element {
  const { store, actions } = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const hovered = useSignal<{ row: number; column: number } | null>(null);
  const size = useSignal({ width: 0, height: 0 });
  const theme = store.theme.value;
  const [n = 0] = pattern.shape;
  useEffect(() => {
    const { lut } = colour_map("activation", theme);
    if (!canvas.current) return;
    paint_pattern(canvas.current, n, lut, (put) => {
      for (let row = 0; row < n; row++) {
        for (let column = 0; column <= row; column++) put(row, column, pattern.values[row * n + column] ?? 0);
      }
    });
  }, [pattern, theme]);
  useEffect(() => watch_size(plot.current, (width, height) => (size.value = { width, height })), []);
  const under = (event: MouseEvent): { row: number; column: number } | null =>
    canvas.current && cell_under(event, canvas.current, n, n);
  const pick = (event: MouseEvent): void => {
    const at = under(event);
    if (!at) return;
    if (at.column <= at.row) on_pick_key(at.column);
    actions.select_pos(at.row);
  };
  const cell = hovered.value;
  return (
    <div class="pattern-map">
      <div class="map-frame">
        <AxisNames n={n} side="rows" length_px={size.value.height} kept={[cell?.row ?? query_pos, query_pos]} />
        <div class="map-plot" ref={plot}>
          <canvas ref={canvas} role="img" aria-label={`Pattern of ${id} over ${n} tokens`}
            onMouseMove={(event) => (hovered.value = under(event))} onMouseLeave={() => (hovered.value = null)}
            onClick={pick} />
          {n > 0 && <i class="map-row" style={{ top: `${(100 * query_pos) / n}%`, height: `${100 / n}%` }} />}
          {n > 0 && key_pos !== null && (
            <i class="map-column" style={{ left: `${(100 * key_pos) / n}%`, width: `${100 / n}%` }} />
          )}
        </div>
        <AxisNames n={n} side="columns" length_px={size.value.width} kept={[cell?.column, key_pos].filter((at): at is number => typeof at === "number")} />
      </div>
      <CellReading pattern={pattern} cell={cell} />
    </div>
  );
}

function CellReading({ pattern, cell }: { pattern: HostTensor; cell: { row: number; column: number } | null }): JSX.Element {
  const { store } = use_page();
  const tokens = store.tokens.value;
  const text = (at: number): string => `${at} ${token_quote(tokens[at]?.text ?? "")}`;
  if (!cell) return <p class="chart-read muted">Rows look at columns. A click chooses both.</p>;
  if (cell.column > cell.row) return <p class="chart-read muted">{text(cell.row)} cannot look ahead.</p>;
  const weight = pattern.values[cell.row * (pattern.shape[1] ?? 0) + cell.column];
  return <p class="chart-read muted">{text(cell.row)} looks at {text(cell.column)}: {percent_text(weight)}</p>;
}
