// The one way the scene's line work is drawn: premultiplied colour over what lies behind, no depth.
import { CustomBlending, GLSL3, type IUniform, OneFactor, OneMinusSrcAlphaFactor, RawShaderMaterial } from "three";

export function ink_material(vertexShader: string, fragmentShader: string, uniforms: Record<string, IUniform>): RawShaderMaterial {
  return new RawShaderMaterial({
    glslVersion: GLSL3,
    vertexShader,
    fragmentShader,
    uniforms,
    transparent: true,
    depthTest: false,
    depthWrite: false,
    side: 2,
    blending: CustomBlending,
    blendSrc: OneFactor,
    blendDst: OneMinusSrcAlphaFactor,
  });
}
