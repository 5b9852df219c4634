// Dark unless the system asks for light, or the person chose.
import type { Store } from "../store/store";
import type { Theme } from "../store/types";

const KEY = "livelens.theme";

function stored(): Theme | null {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "dark" || theme === "light" ? theme : null;
  } catch {
    return null;
  }
}

/** Keep the document and the store in the right theme; returns the switch. */
export function follow_theme(store: Store): () => void {
  const system = matchMedia("(prefers-color-scheme: light)");
  const motion = matchMedia("(prefers-reduced-motion: reduce)");
  const apply = (): void => {
    store.theme.value = stored() ?? (system.matches ? "light" : "dark");
  };
  store.theme.subscribe((theme) => (document.documentElement.dataset["theme"] = theme));
  system.addEventListener("change", apply);
  apply();
  store.reduced_motion.value = motion.matches;
  motion.addEventListener("change", () => (store.reduced_motion.value = motion.matches));
  return () => {
    store.theme.value = store.theme.peek() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, store.theme.peek());
    } catch {
      // no storage here: the choice lasts as long as the page
    }
  };
}
