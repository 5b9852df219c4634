// How the page gets its picture. The scene fulfils this; the page does not know three.js is behind it.
import type { SceneCallbacks, SceneHandle } from "../layout/scene_handle";

export type SceneView = SceneHandle;

/** Put the picture into `container`; rejects where the browser cannot draw it. */
export type SceneMount = (container: HTMLElement, callbacks: SceneCallbacks) => Promise<SceneView>;
