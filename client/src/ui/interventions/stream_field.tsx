// Where in the residual stream a direction acts: before or after some layers.
import type { JSX } from "preact";
import type { StreamPlace } from "../../protocol/generated";
import { use_page } from "../page";
import { NumberWritten } from "../written_field";

export type StreamHook = NonNullable<StreamPlace["hook"]>;

export interface StreamRange {
  hook: StreamHook;
  from: number;
  to: number;
}

/** Every place of `range`, in the order of the layers; its ends may come in any order. */
export function places_of({ hook, from, to }: StreamRange): StreamPlace[] {
  const [first, last] = [Math.min(from, to), Math.max(from, to)];
  return Array.from({ length: last - first + 1 }, (_, i) => ({ layer: first + i, hook }));
}

/** `places` as a range; null where they are none (layers left out, or some before and some after). */
export function range_of(places: readonly StreamPlace[]): StreamRange | null {
  const hooks = new Set(places.map(({ hook }) => hook ?? "resid_post"));
  const layers = [...new Set(places.map(({ layer }) => layer))].sort((a, b) => a - b);
  const [from, to] = [layers[0], layers.at(-1)];
  if (from === undefined || to === undefined || hooks.size !== 1 || to - from + 1 !== places.length) return null;
  return { hook: [...hooks][0]!, from, to };
}

interface RangeProps {
  range: StreamRange;
  n_layers: number;
  /** Of whose fields these are, for who cannot see. */
  name: string;
  edit(change: (range: StreamRange) => StreamRange): void;
}

/** Before or after the layers from one to another. */
export function StreamRangeFields({ range, n_layers, name, edit }: RangeProps): JSX.Element {
  return (
    <>
      <select class="stream-hook" value={range.hook} aria-label={`Place${name}`} title="After a layer is before the next one"
        onChange={(event) => {
          const hook = event.currentTarget.value as StreamHook;
          edit((held) => ({ ...held, hook }));
        }}>
        <option value="resid_post">after</option>
        <option value="resid_pre">before</option>
      </select>
      layers
      <LayerField label={`First layer${name}`} value={range.from} n_layers={n_layers} set={(from) => edit((held) => ({ ...held, from }))} />
      to
      <LayerField label={`Last layer${name}`} value={range.to} n_layers={n_layers} set={(to) => edit((held) => ({ ...held, to }))} />
    </>
  );
}

function LayerField({ label, value, n_layers, set }: { label: string; value: number; n_layers: number; set(value: number): void }): JSX.Element {
  return (
    <NumberWritten class="pos-field" min={0} max={n_layers - 1} step={1} value={value} aria-label={label}
      on_written={(typed) => set(typed === "" ? value : Math.max(0, Math.min(n_layers - 1, Math.round(Number(typed)))))} />
  );
}

/** The places of a listed intervention; those that are no range are said, and can be put to one. */
export function StreamField({ places, edit }: { places: readonly StreamPlace[]; edit(places: StreamPlace[]): void }): JSX.Element {
  const n_layers = use_page().store.model_info.value?.n_layers ?? 1;
  const layers = places.map(({ layer }) => layer);
  const range = range_of(places) ?? { hook: "resid_post", from: Math.min(...layers), to: Math.max(...layers) };
  return (
    <div class="field-row">
      <StreamRangeFields range={range} n_layers={n_layers} name=" of the stream" edit={(change) => edit(places_of(change(range)))} />
    </div>
  );
}
