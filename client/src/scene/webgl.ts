// The one WebGL2 context of the page.
import { ColorManagement, WebGLRenderer } from "three";

/** The browser has no WebGL2: the table and the text still work, and the page says so. */
export class WebGLUnavailableError extends Error {
  override name = "WebGLUnavailableError";
}

/** Throws WebGLUnavailableError when there is no WebGL2. */
export function create_renderer(canvas: HTMLCanvasElement, on_error: (message: string) => void): WebGLRenderer {
  // Edges are smoothed in the shaders, so multisampling would only cost.
  const attributes: WebGLContextAttributes = { alpha: false, antialias: false, depth: true, stencil: false, powerPreference: "high-performance" };
  const context = canvas.getContext("webgl2", attributes) as WebGL2RenderingContext | null;
  if (!context) throw new WebGLUnavailableError("This browser offers no WebGL2, so the network cannot be drawn.");
  // Colours are display values throughout: the ramps are made to be read off a legend, nothing is lit.
  ColorManagement.enabled = false;
  const renderer = new WebGLRenderer({ canvas, context, ...attributes });
  renderer.autoClear = false;
  renderer.info.autoReset = false;
  renderer.debug.onShaderError = (gl, _program, vertex, fragment) => {
    // A lost context makes every compilation fail and is no fault of the shader.
    if (gl.isContextLost()) return;
    const log = [vertex, fragment].map((shader) => gl.getShaderInfoLog(shader)).join(" ").trim();
    on_error(`The graphics driver refused a shader: ${log}`);
  };
  return renderer;
}
