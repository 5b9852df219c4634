// The metric after each layer, as a line: where along the depth the answer is made.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { OverviewAnswer } from "../../protocol/questions";
import { number_text, signed_text } from "../format";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 170, 44, 20];

export function LayerLine({ overview }: { overview: OverviewAnswer }): JSX.Element {
  const pointed = useSignal<number | null>(null);
  const values = Array.from(overview.layer_line.values);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const span = high - low || 1;
  const x_of = (i: number): number => LEFT + (i * (WIDTH - LEFT - 8)) / Math.max(1, values.length - 1);
  const y_of = (value: number): number => 8 + ((high - value) / span) * (HEIGHT - BOTTOM - 12);
  const at = pointed.value ?? values.length - 1;
  const name = (i: number): string => (i === 0 ? "embedding" : `layer ${i - 1}`);
  const before = at > 0 ? values[at - 1]! : 0;
  const point = (event: MouseEvent): void => {
    const box = (event.currentTarget as SVGSVGElement).getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const i = Math.round(((x - LEFT) / (WIDTH - LEFT - 8)) * (values.length - 1));
    pointed.value = Math.max(0, Math.min(values.length - 1, i));
  };
  const ticks = values.map((_, i) => i).filter((i) => i > 0 && (i - 1) % Math.ceil(values.length / 12) === 0);
  return (
    <figure class="layer-line">
      <figcaption class="muted">
        After {name(at)}: <b>{signed_text(values[at], 4)}</b> logits
        {at > 0 && <>, {signed_text(values[at]! - before)} in this layer</>}
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" onMouseMove={point} onMouseLeave={() => (pointed.value = null)}
        aria-label={`The metric after each layer: from ${number_text(values[0])} to ${number_text(values.at(-1))} logits`}>
        <line class="axis" x1={LEFT} x2={WIDTH - 8} y1={y_of(0)} y2={y_of(0)} />
        {[low, high].filter((value, i) => i === 0 || value !== low).map((value) => (
          <text key={value} x={LEFT - 5} y={y_of(value) + 4} text-anchor="end">{number_text(value, 2)}</text>
        ))}
        {ticks.map((i) => <text key={i} x={x_of(i)} y={HEIGHT - 5} text-anchor="middle">L{i - 1}</text>)}
        <polyline class="line" points={values.map((value, i) => `${x_of(i).toFixed(1)},${y_of(value).toFixed(1)}`).join(" ")} />
        <circle class="point" cx={x_of(at)} cy={y_of(values[at] ?? 0)} r={4} />
      </svg>
    </figure>
  );
}
