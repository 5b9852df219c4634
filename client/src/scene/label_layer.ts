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
  kind: LabelKind | null;
  text: string;
  /** Half pixels, fortieths of the base size, hundredths: what is written is compared before it is written. */
  x: number;
  y: number;
  scale: number;
  opacity: number;
}

/** Widths of texts at the base size, in one weight: setting a font costs as much as measuring with it. */
class Ruler {
  private readonly context = document.createElement("canvas").getContext("2d");
  private readonly widths = new Map<string, number>();

  constructor(weight: number) {
    if (this.context) this.context.font = `${weight} ${BASE_SIZE}px ${FONT}`;
  }

  width(text: string): number {
    let width = this.widths.get(text);
    if (width === undefined) {
      if (this.widths.size > 2000) this.widths.clear();
      width = this.context ? this.context.measureText(text).width : text.length * BASE_SIZE * 0.55;
      this.widths.set(text, width);
    }
    return width;
  }

  /** By its characters, without kerning: nothing is measured for a text that is new with every token. */
  rough_width(text: string): number {
    let width = 0;
    for (const char of text) width += this.width(char);
    return width;
  }
}

export class LabelLayer {
  readonly element = document.createElement("div");
  private readonly shown = new Map<string, Shown>();
  private readonly rulers = { bold: new Ruler(600), normal: new Ruler(500) };
  /** The look of each kind in these colours, as one CSS text: one write dresses a label. */
  private readonly looks = new Map<LabelKind, string>();
  private colours: LabelColours | null = null;
  private boxes: { box: LabelBox; pos: number | undefined }[] = [];
  private drawn: { spec: LabelSpec; box: LabelBox }[] = [];

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

  /** Show these labels and no others. */
  render(specs: readonly LabelSpec[], colours: LabelColours): void {
    if (colours !== this.colours) {
      this.colours = colours;
      this.looks.clear();
      for (const shown of this.shown.values()) shown.kind = null;
    }
    const boxes = specs.map((spec) => this.box(spec));
    const kept = thin_labels(boxes, 1);
    this.boxes = kept.map((i) => ({ box: boxes[i]!, pos: specs[i]!.pos }));
    this.drawn = kept.map((i) => ({ spec: specs[i]!, box: boxes[i]! }));
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
    const ruler = BOLD.has(spec.kind) ? this.rulers.bold : this.rulers.normal;
    // Where the text begins at its anchor the width only keeps labels apart.
    const text_width = spec.align === "left" ? ruler.rough_width(spec.text) : ruler.width(spec.text);
    const w = text_width * scale + 2 * pad;
    const h = spec.size * (CHIPS.has(spec.kind) ? CHIP_HEIGHT : LINE_HEIGHT);
    const x = spec.align === "left" ? spec.x : spec.align === "right" ? spec.x - w : spec.x - w / 2;
    return { x, y: spec.y - h / 2, w, h, priority: spec.priority };
  }

  private place(spec: LabelSpec, box: LabelBox, colours: LabelColours): void {
    const shown = this.shown.get(spec.key) ?? this.add(spec.key);
    const { element } = shown;
    if (shown.text !== spec.text) element.textContent = shown.text = spec.text;
    if (shown.kind !== spec.kind) {
      element.style.cssText = this.look(spec.kind, colours);
      shown.kind = spec.kind;
      shown.x = shown.opacity = NaN; // the look has taken the place of both
    }
    const [x, y] = [Math.round(box.x * 2), Math.round(box.y * 2)];
    const scale = Math.round((spec.size / BASE_SIZE) * 40);
    if (shown.x !== x || shown.y !== y || shown.scale !== scale) {
      element.style.transform = `translate(${x / 2}px,${y / 2}px) scale(${scale / 40})`;
      shown.x = x;
      shown.y = y;
      shown.scale = scale;
    }
    const opacity = Math.round(spec.opacity * 100);
    if (shown.opacity !== opacity) {
      element.style.opacity = String(opacity / 100);
      shown.opacity = opacity;
    }
  }

  private add(key: string): Shown {
    const element = document.createElement("span");
    this.element.append(element);
    const shown: Shown = { element, kind: null, text: "", x: NaN, y: NaN, scale: NaN, opacity: NaN };
    this.shown.set(key, shown);
    return shown;
  }

  private look(kind: LabelKind, colours: LabelColours): string {
    let look = this.looks.get(kind);
    if (look === undefined) this.looks.set(kind, (look = look_of(kind, colours)));
    return look;
  }

  /** Draw what is shown on a canvas, in CSS pixels of the picture. */
  paint(context: CanvasRenderingContext2D): void {
    const { colours } = this;
    if (!colours) return;
    for (const { spec, box } of this.drawn) paint_label(context, spec, box, colours);
    context.globalAlpha = 1;
  }

  /** The position named by the token label at a point, if there is one. */
  pos_at(x: number, y: number): number | null {
    for (const { box, pos } of this.boxes) {
      if (pos !== undefined && x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h) return pos;
    }
    return null;
  }

  /** The middle of the label of the token at `pos`; null where it is not shown. */
  place_of(pos: number): { x: number; y: number } | null {
    const found = this.boxes.find((one) => one.pos === pos)?.box;
    return found ? { x: found.x + found.w / 2, y: found.y + found.h / 2 } : null;
  }

  dispose(): void {
    this.element.remove();
    this.shown.clear();
  }
}

interface LabelStyle {
  ink: string;
  /** None: the text has a halo in place of a ground. */
  ground: string | null;
  weight: number;
}

function style_of(kind: LabelKind, colours: LabelColours): LabelStyle {
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
  const ground = kind === "token_now" ? colours.now : kind === "token_read" ? colours.accent : colours.chip;
  return { ink: ink[kind], ground: CHIPS.has(kind) ? ground : null, weight: BOLD.has(kind) ? 600 : 500 };
}

function look_of(kind: LabelKind, colours: LabelColours): string {
  const { ink, ground, weight } = style_of(kind, colours);
  return [
    "position:absolute;left:0;top:0;white-space:pre;unicode-bidi:isolate;transform-origin:0 0;will-change:transform",
    `color:${ink}`,
    `font-weight:${weight}`,
    ground !== null
      ? `padding:0.055em 0.42em;border-radius:0.35em;background:${ground}`
      : `text-shadow:0 0 3px ${colours.halo},0 0 6px ${colours.halo}`,
  ].join(";");
}

/** The same label on a canvas. */
function paint_label(context: CanvasRenderingContext2D, spec: LabelSpec, box: LabelBox, colours: LabelColours): void {
  const { ink, ground, weight } = style_of(spec.kind, colours);
  context.globalAlpha = spec.opacity;
  context.font = `${weight} ${spec.size}px ${FONT}`;
  context.textBaseline = "middle";
  if (ground !== null) {
    context.fillStyle = ground;
    context.beginPath();
    context.roundRect(box.x, box.y, context.measureText(spec.text).width + 0.84 * spec.size, box.h, 0.35 * spec.size);
    context.fill();
  } else {
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeStyle = colours.halo;
    context.strokeText(spec.text, box.x, box.y + box.h / 2);
  }
  context.fillStyle = ink;
  context.fillText(spec.text, box.x + (ground !== null ? 0.42 * spec.size : 0), box.y + box.h / 2);
}
