// The part of the page's address behind `#`, as keys and values. Each key has one owner, who leaves the others alone.

export function hash_keys(hash: string): URLSearchParams {
  return new URLSearchParams(hash.replace(/^#/, ""));
}

/** With its `#`; empty where there are no keys. */
export function hash_of(keys: URLSearchParams): string {
  const text = keys.toString();
  return text ? `#${text}` : "";
}
