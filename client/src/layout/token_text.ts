// A token as a short label: white space made visible, nothing that could change the text around it.

const MAX_CHARS = 22;

/** Control, bidirectional and zero-width characters: invisible, or able to turn a label round. */
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** The label of a token's text; never empty. */
export function token_label(text: string): string {
  const visible = text.replace(/\r?\n/g, "\u23ce").replace(/\t/g, "\u21e5").replace(INVISIBLE, "");
  const trimmed = visible.trim();
  if (trimmed === "") return visible === "" ? "\u2205" : "\u2423".repeat(Math.min(visible.length, 4));
  const chars = [...trimmed];
  return chars.length > MAX_CHARS ? `${chars.slice(0, MAX_CHARS - 1).join("")}\u2026` : trimmed;
}
