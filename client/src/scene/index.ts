// The 3D network: what the rest of the page may know of it. The only folder that imports three.
import type { SceneCallbacks, SceneHandle } from "../layout/scene_handle";
import type { Store } from "../store/store";
import { NetworkScene } from "./network_scene";

export type { SceneHandle } from "../layout/scene_handle";
export { WebGLUnavailableError } from "./webgl";

/** Throws WebGLUnavailableError when there is no WebGL2. `container` must be positioned. */
export function create_scene(container: HTMLElement, store: Store, callbacks: SceneCallbacks): SceneHandle {
  return new NetworkScene(container, store, callbacks);
}
