// The layers that are shown, as a sheet's shader takes them: `u_span`, from and to where on x. No geometry changes.
import { Vector2, type IUniform } from "three";

/** Further away than any layer lies, and still a number of every GPU. */
const FAR = 1e6;

export function everywhere(): Vector2 {
  return new Vector2(-FAR, FAR);
}

export function set_span(uniforms: Record<string, IUniform>, [from, to]: readonly [number, number]): void {
  (uniforms["u_span"]!.value as Vector2).set(Math.max(from, -FAR), Math.min(to, FAR));
}
