// Loudest of 4 x 4 and of 16 x 16 cells, made on the GPU when a token's codes change: the main thread never
// walks millions of cells. Laid out like the sheet itself, so neighbours in it are neighbours on the screen.
import {
  BufferAttribute,
  BufferGeometry,
  GLSL3,
  LinearFilter,
  Mesh,
  NoBlending,
  OrthographicCamera,
  RawShaderMaterial,
  RGFormat,
  Scene,
  UnsignedByteType,
  WebGLRenderTarget,
  type DataTexture,
  type IUniform,
  type WebGLRenderer,
} from "three";
import type { Blocks } from "../layout/blocks";
import type { Packing } from "../layout/texels";
import { POOL_FRAGMENT_16, POOL_FRAGMENT_4, POOL_VERTEX } from "./sheet_shader";

function target(width: number, height: number): WebGLRenderTarget {
  return new WebGLRenderTarget(width, height, {
    format: RGFormat,
    type: UnsignedByteType,
    minFilter: LinearFilter,
    magFilter: LinearFilter,
    depthBuffer: false,
    generateMipmaps: false,
  });
}

export class Pooling {
  /** For the sheet's shader: the pooled textures and how cells are packed. */
  readonly uniforms: Record<string, IUniform>;
  private readonly targets: [WebGLRenderTarget, WebGLRenderTarget];
  private readonly materials: [RawShaderMaterial, RawShaderMaterial];
  private readonly geometry = new BufferGeometry();
  private readonly mesh: Mesh;
  private readonly scene = new Scene();
  private readonly camera = new OrthographicCamera();
  private dirty = true;

  constructor(blocks: Blocks, packing: Packing, codes: DataTexture) {
    const fine = [Math.ceil(blocks.columns / 4), Math.max(1, Math.ceil(blocks.rows / 4))] as const;
    const coarse = [Math.ceil(fine[0] / 4), Math.ceil(fine[1] / 4)] as const;
    this.targets = [
      target(fine[0] * blocks.n_layers, fine[1]),
      target(coarse[0] * blocks.n_layers, coarse[1]),
    ];
    const shared = {
      u_packing: { value: [packing.width, packing.rows_per_layer, blocks.columns, blocks.d_mlp] },
      u_pooled: { value: [...fine, ...coarse] },
    };
    this.uniforms = {
      ...shared,
      u_pool_4: { value: this.targets[0].texture },
      u_pool_16: { value: this.targets[1].texture },
    };
    const material = (fragmentShader: string, uniforms: Record<string, IUniform>): RawShaderMaterial =>
      new RawShaderMaterial({
        glslVersion: GLSL3,
        vertexShader: POOL_VERTEX,
        fragmentShader,
        uniforms: { ...shared, ...uniforms },
        depthTest: false,
        depthWrite: false,
        blending: NoBlending,
      });
    this.materials = [
      material(POOL_FRAGMENT_4, { u_codes: { value: codes }, u_rows: { value: blocks.rows } }),
      material(POOL_FRAGMENT_16, { u_pool_4: { value: this.targets[0].texture } }),
    ];
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 2, 0, 0, 0, 2, 0]), 3));
    this.mesh = new Mesh(this.geometry, this.materials[0]);
    this.mesh.frustumCulled = false;
    this.scene.add(this.mesh);
  }

  /** The codes have changed. */
  touch(): void {
    this.dirty = true;
  }

  run(renderer: WebGLRenderer): void {
    if (!this.dirty) return;
    const before = renderer.getRenderTarget();
    this.materials.forEach((material, level) => {
      this.mesh.material = material;
      renderer.setRenderTarget(this.targets[level]!);
      renderer.render(this.scene, this.camera);
    });
    renderer.setRenderTarget(before);
    this.dirty = false;
  }

  dispose(): void {
    this.geometry.dispose();
    for (const material of this.materials) material.dispose();
    for (const pooled of this.targets) pooled.dispose();
  }
}
