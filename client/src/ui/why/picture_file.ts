// The graph's picture as a file: the drawing on the page with its colours written in.

const PAINTED = ["fill", "stroke", "font-family", "font-size", "font-weight"] as const;

/** The drawing as an SVG file of its own, with a ground. */
export function svg_text(drawing: SVGSVGElement): string {
  const copy = drawing.cloneNode(true) as SVGSVGElement;
  const [sources, copies] = [drawing.querySelectorAll("*"), copy.querySelectorAll("*")];
  sources.forEach((source, i) => {
    const [style, target] = [getComputedStyle(source), copies[i]!];
    for (const name of PAINTED) {
      const value = style.getPropertyValue(name);
      if (value) target.setAttribute(name, value);
    }
    for (const name of ["tabindex", "role", "class", "style"]) target.removeAttribute(name);
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const { width, height } = drawing.viewBox.baseVal;
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  copy.prepend(ground);
  return new XMLSerializer().serializeToString(copy);
}

const PNG_SCALE = 2;
const MAX_PNG_SIDE = 8192;

/** The same as PNG, two pixels to each of the drawing's; less where it would be huge. */
export async function png_blob(svg: string): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    await new Promise((done, failed) => {
      image.onload = done;
      image.onerror = () => failed(new Error("The picture could not be drawn."));
      image.src = url;
    });
    const scale = Math.min(PNG_SCALE, MAX_PNG_SIDE / Math.max(image.width, image.height, 1));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.ceil(image.width * scale), Math.ceil(image.height * scale)];
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The picture could not be written."))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

export function save_file(content: Blob | string, file_name: string, type: string): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = file_name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
