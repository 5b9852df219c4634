// A file of the page's own as JSON: what it must say of itself before anything else in it is read.
import { DecodeError } from "../protocol/errors";

export interface JsonFormat {
  format: string;
  version: number;
  max_chars: number;
}

/** The fields of the file in `text`; throws what `damaged` makes of the first thing that is wrong. */
export function read_json_file(
  text: string, { format, version, max_chars }: JsonFormat, damaged: (what: string) => Error,
): Record<string, unknown> {
  if (text.length > max_chars) throw damaged("it is too large");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged("it is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged("the file is no object: what it should say is missing");
  const file = value as Record<string, unknown>;
  if (file["format"] !== format) throw damaged(`its format is not ${format}`);
  if (file["version"] !== version) throw damaged(`its version is not ${version}`);
  return file;
}

/** A JSON file let go on a panel that opens such; anything else is left to the page, which opens recordings anywhere. */
export function take_dropped_json(event: DragEvent): File | null {
  const file = event.dataTransfer?.files[0];
  if (!file || !/\.json$/i.test(file.name)) return null;
  event.preventDefault();
  return file;
}

/** What `check` reads in `value`, a text of JSON or what was parsed of one; null where it is no such thing. */
export function checked<T>(check: (value: unknown, where: string) => T, value: unknown): T | null {
  try {
    return check(typeof value === "string" ? JSON.parse(value) : value, "");
  } catch (error) {
    if (error instanceof DecodeError || error instanceof SyntaxError) return null;
    throw error;
  }
}
