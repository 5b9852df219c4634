// Numbers and tokens as the page writes them.

/** `value` in a few characters; an en dash where it is unknown. */
export function number_text(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "not finite";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const plain = size !== 0 && (size < 0.001 || size >= 100_000) ? size.toExponential(1)
    : size >= 1000 ? String(Math.round(size))
    : String(Number(size.toPrecision(digits)));
  return value < 0 ? `−${plain}` : plain;
}

export function signed_text(value: number | null | undefined, digits = 3): string {
  return value !== null && value !== undefined && value > 0
    ? `+${number_text(value, digits)}`
    : number_text(value, digits);
}

export function percent_text(prob: number | null | undefined): string {
  if (prob === null || prob === undefined) return "–";
  if (Number.isNaN(prob)) return "not finite";
  if (prob > 0 && prob < 0.001) return "<0.1 %";
  return `${(100 * prob).toFixed(1)} %`;
}

const INVISIBLE: Record<string, string> = { "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", "\u200b": "∅" };

/** A token as a label: its white space made visible, never empty. */
export function token_label(text: string): string {
  if (text === "") return "∅";
  const shown = [...text].map((char) => INVISIBLE[char] ?? (char < " " || char === "\u007f" ? "␀" : char)).join("");
  return shown.trim() === "" ? "␣".repeat(Math.min(shown.length, 8)) : shown;
}

/** A token among others, where space before it is shown by distance: no leading blank. */
export function word_label(text: string): string {
  const label = token_label(text);
  return label.length > 1 ? label.replace(/^ +/, "") : label;
}

/** A token in running text, quoted so that its spaces can be seen. */
export function token_quote(text: string): string {
  return `“${token_label(text)}”`;
}

export function count_text(n: number): string {
  return n.toLocaleString("en-US");
}
