import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { camera_axes, dot, fit_pose, meet_plane, type Vec3 } from "./framing";
import { fade_of_age, MAX_PAST_SHEETS, z_of_age } from "./time_axis";

const number = (min: number, max: number): fc.Arbitrary<number> => fc.double({ min, max, noNaN: true });
const point = fc.tuple(number(-20, 20), number(-8, 8), number(-20, 1)) as fc.Arbitrary<Vec3>;
const minus = (a: Vec3, b: Vec3): Vec3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

describe("fit_pose", () => {
  it("puts every point inside the viewport less its insets, at any angle and any aspect ratio", () => {
    fc.assert(
      fc.property(
        fc.array(point, { minLength: 1, maxLength: 9 }),
        number(-3, 3),
        number(0.2, 2.8),
        number(200, 4000),
        number(200, 2000),
        (points, azimuth, polar, width, height) => {
          const insets = { left: 60, right: 90, top: 20, bottom: 30 };
          const fov = 0.6;
          const pose = fit_pose(points, azimuth, polar, { width, height, fov }, insets);
          const { right, up, back } = camera_axes(azimuth, polar);
          for (const p of points) {
            const seen = minus(p, pose.position);
            const scale = height / 2 / Math.tan(fov / 2) / -dot(seen, back);
            expect(-dot(seen, back)).toBeGreaterThan(0);
            const [x, y] = [width / 2 + dot(seen, right) * scale, height / 2 - dot(seen, up) * scale];
            expect(x).toBeGreaterThan(Math.min(insets.left, width * 0.42) - 0.5);
            expect(x).toBeLessThan(width - Math.min(insets.right, width * 0.42) + 0.5);
            expect(y).toBeGreaterThan(insets.top - 0.5);
            expect(y).toBeLessThan(height - insets.bottom + 0.5);
          }
        },
      ),
    );
  });

  it("stands no farther away than it must: some point touches the frame", () => {
    const points: Vec3[] = [[-4, -1, 0], [4, -1, 0], [0, 3, -2]];
    const pose = fit_pose(points, -0.6, 1.2, { width: 1280, height: 720, fov: 0.6 }, { left: 0, right: 0, top: 0, bottom: 0 });
    const { right, up, back } = camera_axes(-0.6, 1.2);
    const reach = points.map((p) => {
      const seen = minus(p, pose.position);
      const depth = -dot(seen, back) * Math.tan(0.3);
      return Math.max(Math.abs(dot(seen, right)) / (depth * (1280 / 720)), Math.abs(dot(seen, up)) / depth);
    });
    expect(Math.max(...reach)).toBeCloseTo(1, 6);
  });
});

describe("meet_plane", () => {
  it("finds the point that the ray was aimed at", () => {
    fc.assert(
      fc.property(point, fc.tuple(number(-30, 30), number(-30, 30), number(2, 60)), (aim, origin) => {
        const direction = minus(aim, origin);
        const hit = meet_plane(origin, direction, aim[2])!;
        expect(hit.x).toBeCloseTo(aim[0], 6);
        expect(hit.y).toBeCloseTo(aim[1], 6);
        expect(hit.distance).toBeCloseTo(1, 6);
      }),
    );
  });

  it("finds nothing behind the camera or along the plane", () => {
    expect(meet_plane([0, 0, 5], [0, 0, 1], 0)).toBeNull();
    expect(meet_plane([0, 0, 5], [1, 0, 0], 0)).toBeNull();
  });
});

describe("time axis", () => {
  it("puts every earlier token farther back, however long the text, and within reach", () => {
    for (let age = 0; age < 3000; age++) expect(z_of_age(age + 1)).toBeLessThanOrEqual(z_of_age(age));
    expect(z_of_age(60)).toBeLessThan(z_of_age(30));
    expect(z_of_age(100_000)).toBeGreaterThan(2 * z_of_age(MAX_PAST_SHEETS));
    expect(z_of_age(0)).toBeCloseTo(0);
  });

  it("fades sheets with their age", () => {
    for (let age = 0; age < MAX_PAST_SHEETS; age++) expect(fade_of_age(age + 1)).toBeLessThan(fade_of_age(age));
    expect(fade_of_age(0)).toBe(1);
    expect(fade_of_age(MAX_PAST_SHEETS + 5)).toBe(0);
  });
});
