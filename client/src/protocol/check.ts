// Small checkers that turn untyped msgpack into the generated types, field by field. What they return is
// built anew, so nothing that a stranger put into a message comes along.
import { DecodeError } from "./errors";

export type Check<T> = (value: unknown, path: string) => T;
export type Fields<T> = { [K in keyof T]-?: Check<T[K]> };

function fail(path: string, wanted: string, value: unknown): never {
  const got = value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
  throw new DecodeError("bad_message", `${path} should be ${wanted}, got ${got}`);
}

export const text: Check<string> = (value, path) => (typeof value === "string" ? value : fail(path, "text", value));
export const flag: Check<boolean> = (value, path) =>
  typeof value === "boolean" ? value : fail(path, "true or false", value);
export const real: Check<number> = (value, path) =>
  typeof value === "number" ? value : fail(path, "a number", value);
export const whole: Check<number> = (value, path) =>
  Number.isInteger(value) && (value as number) >= -1 ? (value as number) : fail(path, "a whole number", value);
export const count: Check<number> = (value, path) =>
  Number.isInteger(value) && (value as number) >= 0 ? (value as number) : fail(path, "a count", value);
export const bytes: Check<Uint8Array> = (value, path) =>
  value instanceof Uint8Array ? value : fail(path, "bytes", value);

/** None, or absent, or what `check` wants. */
export function optional<T>(check: Check<T>): Check<T | null> {
  return (value, path) => (value === null || value === undefined ? null : check(value, path));
}

/** A field that an older minor version may lack. */
export function with_default<T>(check: Check<T>, fallback: T): Check<T> {
  return (value, path) => (value === undefined ? fallback : check(value, path));
}

export function list<T>(check: Check<T>): Check<T[]> {
  return (value, path) =>
    Array.isArray(value) ? value.map((item, i) => check(item, `${path}[${i}]`)) : fail(path, "an array", value);
}

export function one_of<T extends string>(...options: readonly T[]): Check<T> {
  return (value, path) => options.find((option) => option === value) ?? fail(path, options.join(" or "), value);
}

/** Those of a list's entries that this version knows: a newer minor may add some. */
export function known<T extends string>(...options: readonly T[]): Check<T[]> {
  const strings = list(text);
  return (value, path) => strings(value, path).flatMap((item) => options.filter((option) => option === item));
}

export function struct<T>(fields: Fields<T>): Check<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  return (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(path, "a map", value);
    const source = value as Record<string, unknown>;
    const result: Partial<T> = {};
    for (const name of names) {
      const held = Object.hasOwn(source, name) ? source[name] : undefined;
      result[name] = fields[name](held, `${path}.${name}`);
    }
    return result as T;
  };
}
