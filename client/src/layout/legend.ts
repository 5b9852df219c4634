// What brightness means now, in numbers: unscaled glow misleads.
import type { StepRecord, DisplayChannel, SignedValues, Theme } from "../store/types";
import { css_stops } from "./colour";
import { direct_scales, signed_scales } from "./encode";

export interface LegendTick {
  /** Place along the gradient, 0..1. */
  at: number;
  label: string;
}

/** One row of numbers under the gradient: the same colours mean different amounts for different cells. */
export interface LegendScale {
  name: string;
  ticks: LegendTick[];
}

export interface LegendSpec {
  title: string;
  unit: string;
  diverging: boolean;
  stops: { at: number; css: string }[];
  scales: LegendScale[];
  /** How values are normalised. */
  note: string;
}

const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Three significant digits at most. */
export function short_number(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 || size < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 100 ? 3 : 2)));
}

function signed(value: number): string {
  return value > 0 ? `+${short_number(value)}` : short_number(value).replace("-", "\u2212");
}

function direct_ticks(max: number): LegendTick[] {
  return [-1, -0.5, 0, 0.5, 1].map((x) => ({ at: x / 2 + 0.5, label: signed(Math.sign(x) * x * x * max) }));
}

const SIGNED_NEURONS: Record<SignedValues["of"], string> = {
  value: "neurons", direct: "strongest neurons", causal: "neurons",
};

/** A kind of which nothing is known has no row of numbers. */
function signed_legend(values: SignedValues, theme: Theme): LegendSpec {
  const { heads, neurons, blocks } = signed_scales(values);
  const scales = [
    { name: "heads", max: heads }, { name: SIGNED_NEURONS[values.of], max: neurons }, { name: "whole attn / mlp", max: blocks },
  ].filter(({ max }) => max > 0);
  return {
    title: values.title, unit: values.unit, diverging: true, stops: css_stops("direct_logit", theme), note: values.note,
    scales: scales.map(({ name, max }) => ({ name, ticks: direct_ticks(max) })),
  };
}

export function legend_of(channel: DisplayChannel, theme: Theme, step: StepRecord | undefined): LegendSpec {
  const spec = step?.signed ? signed_legend(step.signed, theme) : own_legend(channel, theme, step);
  return step?.compared === "other" && !step.signed ? { ...spec, title: `The other run: ${spec.title}` } : spec;
}

function own_legend(channel: DisplayChannel, theme: Theme, step: StepRecord | undefined): LegendSpec {
  const stops = css_stops(channel, theme);
  if (channel !== "activation") {
    const scales = step ? direct_scales(step) : { heads: 0, neurons: 0, blocks: 0 };
    const pair = step?.direct_distractor_id != null;
    return {
      title: "Direct contribution",
      unit: pair ? "logits, target minus distractor" : "logits, chosen token above the mean",
      diverging: true,
      stops,
      scales: [
        { name: "heads", ticks: direct_ticks(scales.heads) },
        { name: "strongest neurons", ticks: direct_ticks(scales.neurons) },
        { name: "whole attn / mlp", ticks: direct_ticks(scales.blocks) },
      ],
      note: "Blue takes away, orange adds; square-root scale over the whole model, for the token shown.",
    };
  }
  const quarters = [0, 0.25, 0.5, 0.75, 1];
  return {
    title: "Activation size",
    unit: "share of the layer\u2019s largest",
    diverging: false,
    stops,
    scales: [
      { name: "neurons", ticks: quarters.map((at) => ({ at, label: percent(at * at) })) },
      { name: "heads", ticks: quarters.map((at) => ({ at, label: percent(at) })) },
    ],
    note:
      "Each layer by its own loudest, token by token: neurons by |activation| (square-root scale; a bar across a cell " +
      "means negative), heads by the norm of what they write. Strips: whole attn / mlp by the model\u2019s largest. " +
      "Earlier tokens show their loudest cells.",
  };
}
