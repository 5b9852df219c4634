// The one way the scene's line work is drawn: premultiplied colour over what lies behind. Only the shown sheet
// writes depth; what may be hidden by it says so.
import { CustomBlending, GLSL3, type IUniform, OneFactor, OneMinusSrcAlphaFactor, RawShaderMaterial, type Vector2 } from "three";

export function ink_material(
  vertexShader: string,
  fragmentShader: string,
  uniforms: Record<string, IUniform>,
  behind_shown_sheet = false,
): RawShaderMaterial {
  return new RawShaderMaterial({
    glslVersion: GLSL3,
    vertexShader,
    fragmentShader,
    uniforms,
    transparent: true,
    depthTest: behind_shown_sheet,
    depthWrite: false,
    side: 2,
    blending: CustomBlending,
    blendSrc: OneFactor,
    blendDst: OneMinusSrcAlphaFactor,
  });
}

/** Tell a material the canvas's size in device pixels, and how many of them a CSS pixel has. */
export function set_viewport(material: RawShaderMaterial, width: number, height: number, pixel_ratio: number): void {
  (material.uniforms["u_viewport"]!.value as Vector2).set(width, height);
  material.uniforms["u_pixel_ratio"]!.value = pixel_ratio;
}
