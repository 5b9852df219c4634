// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it } from "vitest";
import { HELLO } from "../connection/fake_source";
import type { Store } from "../store/store";
import { close_page, open_page, text_of } from "./page_harness";

let store: Store;
beforeEach(async () => {
  ({ store } = await open_page({ hello: { ...HELLO, model_info: { ...HELLO.model_info, n_layers: 6 } } }));
});
afterEach(close_page);

const field = (label: string): HTMLInputElement => document.querySelector(`input[aria-label="${label}"]`)!;
const all = (): HTMLButtonElement => document.querySelector(".layer-range button")!;

async function set(label: string, text: string): Promise<void> {
  const input = field(label);
  await act(() => {
    input.value = text;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}

it("sets either bound, takes the other along, ignores what is no layer, and goes back to all", async () => {
  const n_all = text_of(".table-tools .muted");
  expect([field("First layer shown").value, field("Last layer shown").value, all().disabled]).toEqual(["0", "5", true]);
  await set("First layer shown", "2");
  expect(store.layer_range.value).toEqual({ first_layer: 2, last_layer: 5 });
  await set("Last layer shown", "1");
  expect(store.layer_range.value).toEqual({ first_layer: 1, last_layer: 1 });
  expect(text_of(".table-tools .muted")).toMatch(/ rows, layers 1$/);
  expect(document.querySelector("#component-grid")!.textContent).toContain("L1H0");
  expect(document.querySelector("#component-grid")!.textContent).not.toContain("L2H0");
  for (const wrong of ["6", "-1", "", "1.5"]) {
    await set("Last layer shown", wrong);
    expect(store.layer_range.value).toEqual({ first_layer: 1, last_layer: 1 });
    expect(field("Last layer shown").value).toBe("1");
  }
  await act(() => all().click());
  expect(store.layer_range.value).toBeNull();
  expect(text_of(".table-tools .muted")).toBe(n_all);
});
