// A signed heat map of layers (across) by heads (down): orange adds, blue takes away, the strong cells say so too. Layers
// that are not looked at are veiled and cannot be pointed at; the colours' scale is that of all.
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colour_map } from "../../layout/colour";
import { axis_labels } from "../drawer/axis_labels";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { use_page } from "../page";
import { HeatVeils } from "./heat_veils";
import { cell_under, paint_cells } from "./paint";

export interface GridCell {
  row: number;
  column: number;
}

interface Props {
  title: string;
  label: string;
  n_rows: number;
  n_columns: number;
  /** [n_rows, n_columns]; NaN where there is no number. */
  values: Float32Array;
  /** The size that has the strongest colour. */
  scale: number;
  /** Signed values around zero, or sizes from zero up; signed where it is not said. */
  colours?: "signed" | "size";
  hovered: Signal<GridCell | null>;
  selected: GridCell | null;
  on_pick: (cell: GridCell) => void;
}

/** Cells of at least this share of the scale carry their sign. */
const SIGNED_SHARE = 0.3;
const COLUMN_PX = 11;

export function HeatGrid(props: Props): JSX.Element {
  const { title, label, n_rows, n_columns, values, scale, colours = "signed", hovered, selected, on_pick } = props;
  const { store } = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = store.theme.value;
  useEffect(() => {
    const { lut } = colour_map(colours === "signed" ? "direct_logit" : "activation", theme);
    const place = (row: number, column: number): number => {
      const share = values[row * n_columns + column]! / scale;
      return colours === "signed" ? 0.5 + share / 2 : share;
    };
    if (canvas.current) paint_cells(canvas.current, n_rows, n_columns, lut, place);
  }, [values, scale, colours, n_rows, n_columns, theme]);
  const range = shown_layers(store);
  const under = (event: MouseEvent): GridCell | null => {
    const cell = canvas.current && cell_under(event, canvas.current, n_rows, n_columns);
    return cell && is_layer_shown(range, cell.column) ? cell : null;
  };
  const box = ({ row, column }: GridCell): Record<string, string> => ({
    left: `${(100 * column) / n_columns}%`, top: `${(100 * row) / n_rows}%`,
    width: `${100 / n_columns}%`, height: `${100 / n_rows}%`,
  });
  const strong = colours === "size" ? [] : Array.from(values.keys()).filter((i) => Math.abs(values[i]!) >= SIGNED_SHARE * scale
    && is_layer_shown(range, i % n_columns));
  return (
    <figure class="heat-grid">
      <figcaption>{title}</figcaption>
      <div class="heat-plot" style={{ "--rows": n_rows }}>
        <canvas ref={canvas} role="img" aria-label={label}
          onMouseMove={(event) => (hovered.value = under(event))} onMouseLeave={() => (hovered.value = null)}
          onClick={(event) => {
            const cell = under(event);
            if (cell) on_pick(cell);
          }} />
        <HeatVeils range={range} n_layers={n_columns} along="right" />
        {strong.map((i) => (
          <span key={i} class="heat-sign" data-strong={Math.abs(values[i]!) > 0.7 * scale || undefined} aria-hidden="true"
            style={box({ row: Math.floor(i / n_columns), column: i % n_columns })}>{values[i]! > 0 ? "+" : "−"}</span>
        ))}
        {[selected, hovered.value].map((cell, i) => cell && <i key={i} class="heat-mark" style={box(cell)} />)}
      </div>
      <div class="heat-names" aria-hidden="true">
        {axis_labels(n_columns, n_columns * COLUMN_PX, [], 26).map((column) => (
          <span key={column} style={{ left: `${(100 * (column + 0.5)) / n_columns}%` }}>L{column}</span>
        ))}
      </div>
    </figure>
  );
}
