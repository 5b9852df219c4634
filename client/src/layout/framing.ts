// Camera arithmetic: where to stand so that given points fill a viewport, and rays through a pixel.

export type Vec3 = readonly [number, number, number];

export interface Insets {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Viewport {
  width: number;
  height: number;
  /** Vertical field of view, radians. */
  fov: number;
}

export interface Pose {
  position: Vec3;
  target: Vec3;
}

export const dot = (a: Vec3, b: Vec3): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** Right, up and backward (towards the camera) of a camera at an azimuth and a polar angle around its target. */
export function camera_axes(azimuth: number, polar: number): { right: Vec3; up: Vec3; back: Vec3 } {
  const [sa, ca, sp, cp] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(polar), Math.cos(polar)];
  return { right: [ca, 0, -sa], up: [-sa * cp, sp, -ca * cp], back: [sa * sp, cp, ca * sp] };
}

/**
 * The nearest camera pose, looking in the given direction, from which every point lies inside the viewport
 * less its insets (pixels). Exact for a perspective camera: each edge of the frame is a plane through the camera.
 */
export function fit_pose(points: readonly Vec3[], azimuth: number, polar: number, view: Viewport, insets: Insets): Pose {
  const { right, up, back } = camera_axes(azimuth, polar);
  const half_height = Math.tan(view.fov / 2);
  const half_width = (half_height * view.width) / view.height;
  const share = (inset: number, side: number): number => 1 - (2 * Math.min(inset, side * 0.42)) / side;
  const [to_right, to_left] = [half_width * share(insets.right, view.width), half_width * share(insets.left, view.width)];
  const [to_top, to_bottom] = [half_height * share(insets.top, view.height), half_height * share(insets.bottom, view.height)];
  let [max_right, max_left, max_top, max_bottom] = [-Infinity, -Infinity, -Infinity, -Infinity];
  let nearest = -Infinity;
  let middle = 0;
  for (const point of points) {
    const [x, y, z] = [dot(point, right), dot(point, up), dot(point, back)];
    max_right = Math.max(max_right, x + z * to_right);
    max_left = Math.max(max_left, -x + z * to_left);
    max_top = Math.max(max_top, y + z * to_top);
    max_bottom = Math.max(max_bottom, -y + z * to_bottom);
    nearest = Math.max(nearest, z);
    middle += z / points.length;
  }
  const z = Math.max(
    (max_right + max_left) / (to_right + to_left),
    (max_top + max_bottom) / (to_top + to_bottom),
    nearest + 1e-3,
  );
  const x = (max_right - z * to_right + z * to_left - max_left) / 2;
  const y = (max_top - z * to_top + z * to_bottom - max_bottom) / 2;
  const along = (i: 0 | 1 | 2, depth: number): number => x * right[i] + y * up[i] + depth * back[i];
  const place = (depth: number): Vec3 => [along(0, depth), along(1, depth), along(2, depth)];
  return { position: place(z), target: place(Math.min(middle, z - 1e-2)) };
}

/** Where a ray from `origin` along `direction` meets the plane at `plane_z`; null behind the origin or parallel. */
export function meet_plane(origin: Vec3, direction: Vec3, plane_z: number): { x: number; y: number; distance: number } | null {
  if (Math.abs(direction[2]) < 1e-9) return null;
  const distance = (plane_z - origin[2]) / direction[2];
  if (!(distance > 0)) return null;
  return { x: origin[0] + distance * direction[0], y: origin[1] + distance * direction[1], distance };
}
