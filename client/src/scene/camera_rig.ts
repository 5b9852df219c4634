// The camera: presets, fitting, focusing, and the person's hand on it. Moves only when told to.
import CameraControls from "camera-controls";
import { Box3, Matrix4, PerspectiveCamera, Quaternion, Raycaster, Sphere, Spherical, Vector2, Vector3, Vector4 } from "three";
import { SHEET_WIDTH, shown_span, type Blocks, type Rect } from "../layout/blocks";
import { fit_pose, type Insets, type Pose, type Vec3 } from "../layout/framing";
import type { CameraPlace } from "../layout/scene_handle";
import { TOKEN_SPACING } from "../layout/time_axis";
import type { LayerRange } from "../store/layer_range";
import type { ViewPreset } from "../store/types";

CameraControls.install({ THREE: { Vector2, Vector3, Vector4, Quaternion, Matrix4, Spherical, Box3, Sphere, Raycaster } });

const FOV_DEGREES = 34;
/** Azimuth and polar angle of each preset, radians. */
const PRESETS: Record<ViewPreset, readonly [number, number]> = {
  three_quarter: [-0.6, 1.23],
  front: [0, Math.PI / 2],
  time: [-0.98, 1.2],
};
/** Tokens of depth that the opening view makes room for. */
const FRAMED_TOKENS: Record<ViewPreset, number> = { three_quarter: 15, front: 0, time: 24 };
const INSETS: Record<ViewPreset, Insets> = {
  three_quarter: { left: 86, right: 178, top: 26, bottom: 44 },
  front: { left: 96, right: 178, top: 40, bottom: 52 },
  time: { left: 90, right: 120, top: 34, bottom: 40 },
};

export class CameraRig {
  readonly camera = new PerspectiveCamera(FOV_DEGREES, 1, 0.05, 500);
  private readonly controls: CameraControls;
  private preset: ViewPreset = "three_quarter";
  /** The person has not moved the camera since the preset: a resize fits it again. */
  private untouched = true;
  private blocks: Blocks | null = null;
  private size: [number, number] = [1, 1];
  private still = false;
  /** What is shown besides the model, and must fit into the picture with it. */
  private besides: readonly Vec3[] = [];
  private layer_range: LayerRange | null = null;

  constructor(element: HTMLElement, on_change: () => void) {
    this.controls = new CameraControls(this.camera, element);
    this.controls.dollyToCursor = true;
    this.controls.draggingSmoothTime = 0.06;
    this.controls.smoothTime = 0.18;
    this.controls.minDistance = 0.15;
    this.controls.maxDistance = 120;
    this.controls.minPolarAngle = 0.06;
    this.controls.maxPolarAngle = Math.PI - 0.35;
    this.controls.restThreshold = 0.002;
    const { ROTATE, TRUCK, DOLLY } = CameraControls.ACTION;
    Object.assign(this.controls.mouseButtons, { left: ROTATE, right: TRUCK, middle: TRUCK, wheel: DOLLY });
    this.controls.addEventListener("control", () => {
      this.untouched = false;
      on_change();
    });
    this.controls.addEventListener("controlstart", on_change);
    this.controls.addEventListener("transitionstart", on_change);
    this.controls.addEventListener("update", on_change);
  }

  /** No easing at all: for people who asked for reduced motion. */
  set_still(still: boolean): void {
    this.still = still;
    this.controls.draggingSmoothTime = still ? 0 : 0.06;
    this.controls.smoothTime = still ? 0 : 0.18;
  }

  set_blocks(blocks: Blocks): void {
    this.blocks = blocks;
    this.set_view("three_quarter", false);
  }

  /**
   * Frame these points together with the model; true where the camera goes elsewhere for it. One that the person has
   * moved stays where it is.
   */
  make_room(points: readonly Vec3[]): boolean {
    const changed = points.length !== this.besides.length;
    this.besides = points;
    if (!changed || !this.untouched) return false;
    this.set_view(this.preset);
    return true;
  }

  /** These layers are what is framed from now on; null: all. A camera that the person has moved stays where it is. */
  set_layer_range(range: LayerRange | null): void {
    const is_same = range?.first_layer === this.layer_range?.first_layer && range?.last_layer === this.layer_range?.last_layer;
    this.layer_range = range;
    if (!is_same && this.untouched) this.set_view(this.preset);
  }

  resize(width: number, height: number): void {
    this.size = [width, height];
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (this.untouched) this.set_view(this.preset, false);
  }

  private frame_points(preset: ViewPreset): Vec3[] {
    const b = this.blocks;
    if (!b) return [];
    const behind = -FRAMED_TOKENS[preset] * TOKEN_SPACING;
    const [from, to] = shown_span(b, this.layer_range);
    const [left, right] = [Math.max(0, from), Math.min(SHEET_WIDTH, to)];
    const width = right - left;
    // The stream's ends, with its tokens and its next ones, belong to the layers beside them.
    const [spine_left, spine_right] = [left > 0 ? left : b.spine_from_x, right < SHEET_WIDTH ? right : b.spine_to_x];
    return [
      [left, b.top, 0],
      [right, b.top, 0],
      [left + width * 0.55, b.top + (preset === "front" ? 0 : 0.75), 0],
      [spine_left, -0.35, 0],
      [spine_right, -0.35, 0],
      [spine_left, 0, behind],
      [left + width * (preset === "time" ? 0.7 : 0.3), b.top * 0.8, behind],
      ...this.besides,
    ];
  }

  private pose_for(preset: ViewPreset, azimuth: number, polar: number): Pose {
    const [width, height] = this.size;
    const shrink = Math.min(1, Math.max(0.78, width / 1000));
    const { left, right, top, bottom } = INSETS[preset];
    const insets = { left: left * shrink, right: right * shrink, top, bottom };
    return fit_pose(this.frame_points(preset), azimuth, polar, { width, height, fov: (FOV_DEGREES * Math.PI) / 180 }, insets);
  }

  private go(pose: Pose, animate: boolean): void {
    void this.controls.setLookAt(...(pose.position as [number, number, number]), ...(pose.target as [number, number, number]), animate && !this.still);
  }

  set_view(preset: ViewPreset, animate = true): void {
    this.preset = preset;
    this.untouched = true;
    if (!this.blocks) return;
    void this.controls.normalizeRotations();
    this.go(this.pose_for(preset, ...PRESETS[preset]), animate);
  }

  /** The shown layers of the model, from where the person is looking. */
  fit(animate = true): void {
    if (!this.blocks) return;
    this.go(this.pose_for(this.preset, this.controls.azimuthAngle, this.controls.polarAngle), animate);
  }

  /** Bring a rectangle of the shown sheet near, keeping the direction of view unless it is too slanted to read. */
  focus(rect: Rect, animate = true): void {
    this.untouched = false;
    const { azimuthAngle, polarAngle } = this.controls;
    const azimuth = Math.abs(azimuthAngle) > 1 ? Math.sign(azimuthAngle) * 0.6 : azimuthAngle;
    const middle: Vec3 = [rect.x + rect.w / 2, rect.y + rect.h / 2, 0];
    const reach = Math.max(rect.w, rect.h, 1e-3) * 9;
    const corners: Vec3[] = [-0.5, 0.5].flatMap((sx) =>
      [-0.5, 0.5].map((sy): Vec3 => [middle[0] + sx * reach, middle[1] + sy * reach, 0]),
    );
    const view = { width: this.size[0], height: this.size[1], fov: (FOV_DEGREES * Math.PI) / 180 };
    const pose = fit_pose(corners, azimuth, polarAngle, view, { left: 20, right: 20, top: 20, bottom: 20 });
    this.go({ position: pose.position, target: middle }, animate);
  }

  orbit(d_azimuth: number, d_polar: number): void {
    this.untouched = false;
    void this.controls.rotate(d_azimuth, d_polar, !this.still);
  }

  /** Shift what is seen by pixels. */
  pan(dx: number, dy: number): void {
    this.untouched = false;
    const per_pixel = (2 * this.controls.distance * Math.tan((FOV_DEGREES * Math.PI) / 360)) / this.size[1];
    void this.controls.truck(-dx * per_pixel, -dy * per_pixel, !this.still);
  }

  zoom(factor: number): void {
    this.untouched = false;
    void this.controls.dollyTo(this.controls.distance / factor, !this.still);
  }

  get place(): CameraPlace {
    if (this.untouched) return { preset: this.preset, pose: null };
    const [at, target] = [this.controls.getPosition(new Vector3()), this.controls.getTarget(new Vector3())];
    return { preset: this.preset, pose: [at.x, at.y, at.z, target.x, target.y, target.z] };
  }

  /** Be there at once. */
  set_place({ preset, pose }: CameraPlace): void {
    this.set_view(preset, false);
    if (!pose) return;
    this.untouched = false;
    void this.controls.setLookAt(...pose, false);
  }

  /** Advance; true while the camera is still moving. */
  update(delta_secs: number): boolean {
    const moved = this.controls.update(delta_secs);
    const distance = this.controls.distance;
    if (Math.abs(this.camera.near - distance / 100) > distance / 400) {
      this.camera.near = distance / 100;
      this.camera.far = distance + 200;
      this.camera.updateProjectionMatrix();
    }
    this.camera.updateMatrixWorld();
    return moved;
  }

  /** 1 when looking straight at the sheet, 0 when looking along it. */
  get frontality(): number {
    return Math.abs(this.camera.getWorldDirection(SCRATCH).z);
  }

  /** Camera in front of the sheets, on the side of the shown token? */
  get in_front(): boolean {
    return this.camera.position.z >= 0;
  }

  dispose(): void {
    this.controls.dispose();
  }
}

const SCRATCH = new Vector3();
