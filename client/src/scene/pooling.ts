// Loudest of 4 x 4 and of 16 x 16 cells, made on the GPU when a token's codes change: the main thread never
// walks millions of cells. One pass for both: each costs it more than the GPU. Laid out like the sheet itself, so neighbours in it are neighbours on the screen.
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
import { POOL_FRAGMENT, POOL_VERTEX } from "./sheet_shader";

export class Pooling {
  /** For the sheet's shader: the pooled texture and how cells are packed. */
  readonly uniforms: Record<string, IUniform>;
  private readonly target: WebGLRenderTarget;
  private readonly material: RawShaderMaterial;
  private readonly geometry = new BufferGeometry();
  private readonly scene = new Scene();
  private readonly camera = new OrthographicCamera();
  private dirty = true;

  constructor(blocks: Blocks, packing: Packing, codes: DataTexture) {
    const fine = [Math.ceil(blocks.columns / 4), Math.max(1, Math.ceil(blocks.rows / 4))] as const;
    const coarse = [Math.ceil(fine[0] / 4), Math.ceil(fine[1] / 4)] as const;
    this.target = new WebGLRenderTarget(fine[0] * blocks.n_layers, fine[1] + 1 + coarse[1], {
      format: RGFormat,
      type: UnsignedByteType,
      minFilter: LinearFilter,
      magFilter: LinearFilter,
      depthBuffer: false,
      generateMipmaps: false,
    });
    const shared = {
      u_packing: { value: [packing.width, packing.rows_per_layer, blocks.columns, blocks.d_mlp] },
      u_pooled: { value: [...fine, ...coarse] },
    };
    this.uniforms = { ...shared, u_pool: { value: this.target.texture } };
    this.material = new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: POOL_VERTEX,
      fragmentShader: POOL_FRAGMENT,
      uniforms: { ...shared, u_codes: { value: codes }, u_rows: { value: blocks.rows }, u_n_layers: { value: blocks.n_layers } },
      depthTest: false,
      depthWrite: false,
      blending: NoBlending,
    });
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 2, 0, 0, 0, 2, 0]), 3));
    const mesh = new Mesh(this.geometry, this.material);
    mesh.frustumCulled = false;
    this.scene.add(mesh);
    this.scene.matrixWorldAutoUpdate = this.camera.matrixWorldAutoUpdate = false;
  }

  /** The codes have changed. */
  touch(): void {
    this.dirty = true;
  }

  run(renderer: WebGLRenderer): void {
    if (!this.dirty) return;
    const before = renderer.getRenderTarget();
    renderer.setRenderTarget(this.target);
    renderer.render(this.scene, this.camera);
    renderer.setRenderTarget(before);
    this.dirty = false;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
    this.target.dispose();
  }
}
