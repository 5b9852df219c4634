// The chips of the text strip, kept by hand rather than rendered: a new token touches two elements, however
// long the text is.
import type { Store } from "../../store/store";
import type { TokenChip } from "../../store/types";
import { tint_of } from "./chip_tint";
import { word_label } from "../format";
import type { ChipMetric } from "../page";

interface Held {
  element: HTMLButtonElement;
  chip: TokenChip;
}

export class ChipList {
  private held: Held[] = [];
  private current = -1;
  private n_prompt = 0;
  private differing: ReadonlySet<number> = new Set();

  constructor(
    private readonly root: HTMLElement,
    private readonly store: Store,
  ) {}

  /** Bring the elements in line with `tokens`; unchanged chips are not touched. */
  update(tokens: readonly TokenChip[], n_prompt: number, metric: ChipMetric): void {
    const is_other_run = n_prompt !== this.n_prompt;
    this.n_prompt = n_prompt;
    if (is_other_run) for (const held of this.held) this.write(held, metric);
    while (this.held.length > tokens.length) this.held.pop()?.element.remove();
    for (let pos = 0; pos < tokens.length; pos++) {
      const chip = tokens[pos]!;
      const held = this.held[pos];
      if (!held) this.append(chip, metric);
      else if (held.chip !== chip) {
        held.chip = chip;
        this.write(held, metric);
      }
    }
    this.mark_newest();
    this.mark_current(this.store.current_pos.peek());
  }

  /** Tint every chip anew. */
  retint(metric: ChipMetric): void {
    for (const held of this.held) this.tint(held, metric);
  }

  /** The step at `pos` arrived: the token after it has a metric now, and it itself has activations. */
  step_arrived(pos: number, metric: ChipMetric): void {
    const next = this.held[pos + 1];
    if (next) this.tint(next, metric);
    const held = this.held[pos];
    if (held) this.mark_pending(held);
    this.mark_newest();
  }

  mark_current(pos: number): void {
    if (pos === this.current && this.held[pos]?.element.ariaCurrent === "true") return;
    const before = this.held[this.current]?.element;
    before?.removeAttribute("aria-current");
    if (before) before.tabIndex = -1;
    this.current = pos;
    const element = this.held[pos]?.element;
    if (!element) return;
    element.setAttribute("aria-current", "true");
    element.tabIndex = 0;
    keep_in_view(this.root, element);
  }

  /** Tokens that another run has not, by position: underlined, whatever tints them. */
  mark_differing(others: ReadonlySet<number>): void {
    this.differing = others;
    for (const held of this.held) held.element.classList.toggle("differs", others.has(held.chip.pos));
  }

  chip_at(element: EventTarget | null): TokenChip | null {
    const button = element instanceof Element ? element.closest<HTMLElement>("button.chip") : null;
    return button ? (this.held[Number(button.dataset["pos"])]?.chip ?? null) : null;
  }

  element_at(pos: number): HTMLElement | null {
    return this.held[pos]?.element ?? null;
  }

  private append(chip: TokenChip, metric: ChipMetric): void {
    const element = document.createElement("button");
    element.type = "button";
    element.tabIndex = -1;
    element.dataset["pos"] = String(chip.pos);
    const held = { element, chip };
    this.held.push(held);
    this.write(held, metric);
    this.root.append(element);
  }

  private write(held: Held, metric: ChipMetric): void {
    const { element, chip } = held;
    element.textContent = word_label(chip.text);
    element.className = "chip";
    element.classList.toggle("first-generated", this.n_prompt > 0 && chip.pos === this.n_prompt);
    element.classList.toggle("differs", this.differing.has(chip.pos));
    element.classList.toggle("space", chip.text.startsWith(" "));
    this.tint(held, metric);
  }

  private tint(held: Held, metric: ChipMetric): void {
    const tint = tint_of(this.store, held.chip, metric);
    const strength = tint ? Math.min(1, Math.max(-1, tint.strength)) : 0;
    held.element.style.setProperty("--tint", `${Math.round(Math.abs(strength) * 100)}%`);
    held.element.toggleAttribute("data-against", strength < 0);
  }

  /** The newest token was chosen but not yet read back: it has no activations. */
  private mark_newest(): void {
    for (const held of this.held.slice(-3)) this.mark_pending(held);
  }

  private mark_pending({ chip, element }: Held): void {
    const is_pending = !this.store.history.get(chip.pos);
    element.classList.toggle("pending", is_pending);
    element.ariaLabel = is_pending ? `${element.textContent}, no activations yet` : null;
  }
}

/** Scroll only the strip, never the page, and only as far as needed. */
function keep_in_view(root: HTMLElement, element: HTMLElement): void {
  const top = element.offsetTop; // the strip is positioned, so this is within it
  const bottom = top + element.offsetHeight;
  if (top < root.scrollTop) root.scrollTop = top;
  else if (bottom > root.scrollTop + root.clientHeight) root.scrollTop = bottom - root.clientHeight;
}
