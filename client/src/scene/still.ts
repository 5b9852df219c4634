// The picture as one canvas: what WebGL drew, the labels, and the legend with its numbers. For pictures and films.
import type { LegendSpec } from "../layout/legend";
import type { LabelLayer } from "./label_layer";
import type { SceneTheme } from "./theme";

const FONT = "'Inter', 'Segoe UI', system-ui, -apple-system, 'Helvetica Neue', Arial, sans-serif";
const LEGEND_WIDTH = 300;
const RAMP_WIDTH = 196;
const PAD = 10;
const LINE = 14;

export interface StillParts {
  /** What WebGL has drawn in this very task: later it may be gone. */
  drawn: HTMLCanvasElement;
  labels: LabelLayer;
  legend: LegendSpec;
  theme: SceneTheme;
  /** CSS pixels. */
  size: readonly [number, number];
}

/** Put the parts onto `context`, whose canvas is as large as the picture times `scale`. */
export function compose(context: CanvasRenderingContext2D, scale: number, parts: StillParts): void {
  const [width, height] = parts.size;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.drawImage(parts.drawn, 0, 0, context.canvas.width, context.canvas.height);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  parts.labels.paint(context);
  paint_legend(context, parts.legend, parts.theme, width, height);
}

function paint_legend(context: CanvasRenderingContext2D, legend: LegendSpec, theme: SceneTheme, width: number, height: number): void {
  context.textBaseline = "top";
  context.font = `400 10px ${FONT}`;
  const note = wrapped(context, legend.note, LEGEND_WIDTH - 2 * PAD);
  const box_height = 2 * PAD + LINE + 16 + legend.scales.length * LINE + 4 + note.length * (LINE - 1);
  const [x, y] = [width - LEGEND_WIDTH - 12, height - box_height - 12];
  context.globalAlpha = 0.9;
  context.fillStyle = theme.background;
  context.beginPath();
  context.roundRect(x, y, LEGEND_WIDTH, box_height, 8);
  context.fill();
  context.globalAlpha = 1;
  paint_title(context, legend, theme, x + PAD, y + PAD);
  paint_ramp(context, legend, x + PAD, y + PAD + LINE + 3);
  let at = y + PAD + LINE + 16;
  for (const scale of legend.scales) {
    paint_scale(context, scale, theme, x + PAD, at);
    at += LINE;
  }
  context.textAlign = "left";
  context.fillStyle = theme.labels.faint;
  note.forEach((line, i) => context.fillText(line, x + PAD, at + 4 + i * (LINE - 1)));
}

function paint_title(context: CanvasRenderingContext2D, legend: LegendSpec, theme: SceneTheme, x: number, y: number): void {
  context.textAlign = "left";
  context.fillStyle = theme.labels.text;
  context.font = `600 11px ${FONT}`;
  context.fillText(legend.title, x, y);
  const title_width = context.measureText(`${legend.title} `).width;
  context.font = `400 10px ${FONT}`;
  context.fillStyle = theme.labels.faint;
  context.fillText(legend.unit, x + title_width + 3, y + 1);
}

function paint_ramp(context: CanvasRenderingContext2D, legend: LegendSpec, x: number, y: number): void {
  const ramp = context.createLinearGradient(x, 0, x + RAMP_WIDTH, 0);
  for (const { at, css } of legend.stops) ramp.addColorStop(Math.min(1, Math.max(0, at)), css);
  context.fillStyle = ramp;
  context.fillRect(x, y, RAMP_WIDTH, 8);
}

function paint_scale(
  context: CanvasRenderingContext2D, scale: LegendSpec["scales"][number], theme: SceneTheme, x: number, y: number,
): void {
  context.font = `400 10px ${FONT}`;
  context.fillStyle = theme.labels.faint;
  for (const { at, label } of scale.ticks) {
    context.textAlign = at <= 0 ? "left" : at >= 1 ? "right" : "center";
    context.fillText(label, x + at * RAMP_WIDTH, y);
  }
  context.textAlign = "left";
  context.fillStyle = theme.labels.text;
  context.fillText(scale.name, x + RAMP_WIDTH + 6, y);
}

function wrapped(context: CanvasRenderingContext2D, text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line ? `${line} ${word}` : word;
    if (line && context.measureText(longer).width > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return line ? [...lines, line] : lines;
}
