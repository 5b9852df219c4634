// Text over the canvas: real text at any angle, thinned so that nothing piles up. Token text comes from the model
// and is hostile: it only ever goes in as textContent.
import { thin_labels, type LabelBox } from "../layout/label_thinning";

export type LabelKind = "token" | "token_now" | "token_read" | "layer" | "next" | "next_best" | "picked" | "hover" | "axis" | "weight";

export interface LabelSpec {
  key: string;
  text: string;
  kind: LabelKind;
  /** Anchor in CSS pixels of the canvas, and where the text lies from it. */
  x: number;
  y: number;
  align: "left" | "centre" | "right";
  size: number;
  opacity: number;
  priority: number;
  /** The position that a click on it shows. */
  pos?: number;
}

export interface LabelColours {
  text: string;
  faint: string;
  chip: string;
  accent: string;
  accent_text: string;
  now: string;
  now_text: string;
  halo: string;
}

const FONT = "'Inter', 'Segoe UI', system-ui, -apple-system, 'Helvetica Neue', Arial, sans-serif";
const CHIPS: ReadonlySet<LabelKind> = new Set(["token", "token_now", "token_read", "picked", "hover"]);
const BOLD: ReadonlySet<LabelKind> = new Set(["token_now", "token_read", "next_best", "picked", "hover"]);
const BASE_SIZE = 16;
const LINE_HEIGHT = 1.25;
/** Of a label with a ground of its own, in font sizes. */
export const CHIP_HEIGHT = 1.36;

interface Shown {
  element: HTMLSpanElement;
  style_key: string;
  text: string;
  transform: string;
  opacity: string;
}

export class LabelLayer {
  readonly element = document.createElement("div");
  private readonly shown = new Map<string, Shown>();
  private readonly widths = new Map<string, number>();
  private readonly ruler = document.createElement("canvas").getContext("2d");
  private boxes: { box: LabelBox; pos: number | undefined }[] = [];

  constructor(container: HTMLElement) {
    this.element.setAttribute("aria-hidden", "true");
    Object.assign(this.element.style, {
      position: "absolute",
      inset: "0",
      overflow: "hidden",
      pointerEvents: "none",
      contain: "strict",
      fontFamily: FONT,
      fontSize: `${BASE_SIZE}px`,
      lineHeight: "1.25",
      userSelect: "none",
    });
    container.append(this.element);
  }

  private width(text: string, bold: boolean): number {
    const key = (bold ? "b" : "n") + text;
    let width = this.widths.get(key);
    if (width === undefined) {
      if (this.widths.size > 4000) this.widths.clear();
      if (this.ruler) this.ruler.font = `${bold ? 600 : 500} ${BASE_SIZE}px ${FONT}`;
      width = this.ruler ? this.ruler.measureText(text).width : text.length * BASE_SIZE * 0.55;
      this.widths.set(key, width);
    }
    return width;
  }

  /** Show these labels and no others. */
  render(specs: readonly LabelSpec[], colours: LabelColours): void {
    const boxes = specs.map((spec) => this.box(spec));
    const kept = thin_labels(boxes, 1);
    this.boxes = kept.map((i) => ({ box: boxes[i]!, pos: specs[i]!.pos }));
    const keys = new Set(kept.map((i) => specs[i]!.key));
    for (const [key, shown] of this.shown) {
      if (!keys.has(key)) {
        shown.element.remove();
        this.shown.delete(key);
      }
    }
    for (const i of kept) this.place(specs[i]!, boxes[i]!, colours);
  }

  private box(spec: LabelSpec): LabelBox {
    const scale = spec.size / BASE_SIZE;
    const pad = CHIPS.has(spec.kind) ? 0.42 * spec.size : 0;
    const w = this.width(spec.text, BOLD.has(spec.kind)) * scale + 2 * pad;
    const h = spec.size * (CHIPS.has(spec.kind) ? CHIP_HEIGHT : LINE_HEIGHT);
    const x = spec.align === "left" ? spec.x : spec.align === "right" ? spec.x - w : spec.x - w / 2;
    return { x, y: spec.y - h / 2, w, h, priority: spec.priority };
  }

  private place(spec: LabelSpec, box: LabelBox, colours: LabelColours): void {
    let shown = this.shown.get(spec.key);
    if (!shown) {
      const element = document.createElement("span");
      this.element.append(element);
      shown = { element, style_key: "", text: "", transform: "", opacity: "" };
      this.shown.set(spec.key, shown);
    }
    if (shown.text !== spec.text) {
      shown.element.textContent = spec.text;
      shown.text = spec.text;
    }
    const style_key = `${spec.kind}${colours.text}`;
    if (shown.style_key !== style_key) {
      this.dress(shown.element, spec.kind, colours);
      shown.style_key = style_key;
    }
    const scale = Math.round((spec.size / BASE_SIZE) * 40) / 40;
    const transform = `translate(${Math.round(box.x * 2) / 2}px,${Math.round(box.y * 2) / 2}px) scale(${scale})`;
    if (shown.transform !== transform) shown.element.style.transform = shown.transform = transform;
    const opacity = spec.opacity.toFixed(2);
    if (shown.opacity !== opacity) shown.element.style.opacity = shown.opacity = opacity;
  }

  private dress(element: HTMLElement, kind: LabelKind, colours: LabelColours): void {
    const chip = CHIPS.has(kind);
    const ground = kind === "token_now" ? colours.now : kind === "token_read" ? colours.accent : colours.chip;
    const ink: Record<LabelKind, string> = {
      token: colours.text,
      token_now: colours.now_text,
      token_read: colours.accent_text,
      layer: colours.faint,
      axis: colours.faint,
      next: colours.faint,
      next_best: colours.accent,
      picked: colours.accent,
      hover: colours.text,
      weight: colours.accent,
    };
    Object.assign(element.style, {
      position: "absolute",
      left: "0",
      top: "0",
      whiteSpace: "pre",
      unicodeBidi: "isolate",
      transformOrigin: "0 0",
      willChange: "transform",
      color: ink[kind],
      fontWeight: BOLD.has(kind) ? "600" : "500",
      padding: chip ? "0.055em 0.42em" : "0",
      borderRadius: chip ? "0.35em" : "0",
      background: chip ? ground : "none",
      textShadow: chip ? "none" : `0 0 3px ${colours.halo}, 0 0 6px ${colours.halo}`,
    });
  }

  /** The position named by the token label at a point, if there is one. */
  pos_at(x: number, y: number): number | null {
    for (const { box, pos } of this.boxes) {
      if (pos !== undefined && x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h) return pos;
    }
    return null;
  }

  dispose(): void {
    this.element.remove();
    this.shown.clear();
  }
}
