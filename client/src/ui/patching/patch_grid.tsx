// One heat map: layers upwards, tokens or heads across. Orange brings the answer back, blue takes it away.
import type { Signal } from "@preact/signals";
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { colour_map } from "../../layout/colour";
import type { PatchingAnswer } from "../../protocol/questions";
import { is_layer_shown, shown_layers } from "../../store/layer_range";
import { watch_size } from "../drawer/attention_map";
import { axis_labels } from "../drawer/axis_labels";
import { use_page } from "../page";
import { HeatVeils } from "../parts/heat_veils";
import { cell_under, paint_cells } from "../parts/paint";
import { column_label, differing_positions, type MapCell, type PatchMap } from "./patch_maps";

export interface Pointed {
  map: PatchMap;
  cell: MapCell;
}

interface Props {
  answer: PatchingAnswer;
  map: PatchMap;
  pointed: Signal<Pointed | null>;
  selected: MapCell | null;
  on_pick: (pointed: Pointed) => void;
}

const STEPS: Record<string, readonly [number, number]> = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0],
};

export function PatchGrid({ answer, map, pointed, selected, on_pick }: Props): JSX.Element {
  const { store } = use_page();
  const canvas = useRef<HTMLCanvasElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const size = useSignal({ width: 0, height: 0 });
  const theme = store.theme.value;
  const [n_rows = 0, n_columns = 0] = map.tensor.shape;
  const range = shown_layers(store);
  useEffect(() => {
    const { lut } = colour_map("direct_logit", theme);
    const place = (row: number, column: number): number =>
      0.5 + (map.tensor.values[(n_rows - 1 - row) * n_columns + column] ?? Number.NaN) / (2 * map.scale);
    if (canvas.current) paint_cells(canvas.current, n_rows, n_columns, lut, place);
  }, [map, theme]);
  useEffect(() => watch_size(plot.current, (width, height) => (size.value = { width, height })), []);
  const own = pointed.value?.map.title === map.title ? pointed.value.cell : null;
  const under = (event: MouseEvent): Pointed | null => {
    const cell = canvas.current && cell_under(event, canvas.current, n_rows, n_columns);
    return cell && is_layer_shown(range, n_rows - 1 - cell.row) ? { map, cell: { row: n_rows - 1 - cell.row, column: cell.column } } : null;
  };
  const on_key = (event: KeyboardEvent): void => {
    const [least, most] = [range?.first_layer ?? 0, range?.last_layer ?? n_rows - 1];
    const now = own ?? selected ?? { row: most, column: n_columns - 1 };
    const step = STEPS[event.key];
    if (event.key === "Enter" || event.key === " ") on_pick({ map, cell: now });
    else if (step) {
      const clamp = (at: number, from: number, to: number): number => Math.max(from, Math.min(to, at));
      const [up, right] = own ? step : [0, 0];
      pointed.value = { map, cell: { row: clamp(now.row + up, least, most), column: clamp(now.column + right, 0, n_columns - 1) } };
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const box = ({ row, column }: MapCell): Record<string, string> => ({
    left: `${(100 * column) / n_columns}%`, top: `${(100 * (n_rows - 1 - row)) / n_rows}%`,
    width: `${100 / n_columns}%`, height: `${100 / n_rows}%`,
  });
  const across = map.columns === "tokens" ? "tokens" : "heads";
  return (
    <figure class="heat-grid patch-grid" data-kind={map.kind}>
      <figcaption>{map.title}</figcaption>
      <div class="patch-frame">
        <div class="patch-rows" aria-hidden="true">
          {axis_labels(n_rows, size.value.height, [], 15).map((row) => (
            <span key={row} style={{ top: `${(100 * (n_rows - row - 0.5)) / n_rows}%` }}>L{row}</span>
          ))}
        </div>
        <div class="heat-plot patch-plot" ref={plot} style={{ "--rows": n_rows }}>
          <canvas ref={canvas} role="img" tabIndex={0} onKeyDown={on_key}
            aria-label={`${map.title}: ${n_rows} layers by ${n_columns} ${across}. Arrow keys point at a cell, Enter selects it; the table has the strongest.`}
            onMouseMove={(event) => (pointed.value = under(event))} onMouseLeave={() => (pointed.value = null)}
            onClick={(event) => {
              const cell = under(event);
              if (cell) on_pick(cell);
            }} />
          <HeatVeils range={range} n_layers={n_rows} along="up" />
          {[selected, own].map((cell, i) => cell && <i key={i} class="patch-mark" style={box(cell)} />)}
        </div>
        <ColumnNames answer={answer} map={map} n={n_columns} length_px={size.value.width} own={own} />
      </div>
    </figure>
  );
}

function ColumnNames({ answer, map, n, length_px, own }: {
  answer: PatchingAnswer; map: PatchMap; n: number; length_px: number; own: MapCell | null;
}): JSX.Element {
  const is_tokens = map.columns === "tokens";
  const differing = is_tokens ? differing_positions(answer) : [];
  return (
    <div class="patch-columns" data-tokens={is_tokens || undefined} aria-hidden="true">
      {axis_labels(n, length_px, [...(own ? [own.column] : []), ...differing], is_tokens ? 13 : 24).map((at) => (
        <span key={at} data-differs={differing.includes(at) || undefined} style={{ left: `${(100 * (at + 0.5)) / n}%` }}>
          {is_tokens ? column_label(answer, at) : `H${at}`}
        </span>
      ))}
    </div>
  );
}
