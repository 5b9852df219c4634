// For specs in jsdom: finding, clicking and writing as a person does.
import { act } from "preact/test-utils";

export const $ = <T extends HTMLElement>(selector: string): T => {
  const found = document.querySelector<T>(selector);
  if (!found) throw new Error(`nothing is ${selector}`);
  return found;
};
export const click = (selector: string): Promise<void> => act(() => $(selector).click());
export const labelled = <T extends HTMLElement>(label: string): T => $<T>(`[aria-label="${label}"]`);
export const press = (key: string, more: KeyboardEventInit = {}): Promise<void> =>
  act(() => void document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more })));

export function write(element: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement, value: string, event = "change"): Promise<void> {
  element.value = value;
  return act(() => void element.dispatchEvent(new Event(event, { bubbles: true })));
}
