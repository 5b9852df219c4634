// Veils over the layers of a heat map that are not looked at.
import type { JSX } from "preact";
import type { LayerRange } from "../../store/layer_range";

interface Props {
  range: LayerRange | null;
  n_layers: number;
  /** Layers to the right, or upwards. */
  along: "right" | "up";
}

export function HeatVeils({ range, n_layers, along }: Props): JSX.Element | null {
  if (!range) return null;
  const veils = [[0, range.first_layer], [range.last_layer + 1, n_layers]] as const;
  return (
    <>
      {veils.filter(([from, to]) => to > from).map(([from, to]) => {
        const [start, size] = [`${(100 * from) / n_layers}%`, `${(100 * (to - from)) / n_layers}%`];
        return <i key={from} class="heat-veil" aria-hidden="true"
          style={along === "right" ? { left: start, width: size, top: 0, height: "100%" } : { bottom: start, height: size, left: 0, width: "100%" }} />;
      })}
    </>
  );
}
