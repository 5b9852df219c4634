// @vitest-environment jsdom
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Store } from "../store/store";
import { Menu } from "./menu";
import { close_page, open_page } from "./page_harness";
import { $, press } from "./spec_hands";

const HEAD = { kind: "head" as const, layer: 1, index: 1 };
let store: Store;
let place: HTMLElement;

beforeEach(async () => {
  let settle: () => Promise<void>;
  ({ store, settle } = await open_page());
  store.selection.value = HEAD;
  place = document.body.appendChild(document.createElement("div"));
  await act(() => render(<Menu label="Things" class="things">{() => <h3>To do</h3>}</Menu>, place));
  await settle();
});
afterEach(() => {
  render(null, place);
  place.remove();
  close_page();
});

it("Escape closes an open menu and leaves the selection; without one it clears it", async () => {
  const menu = $<HTMLDetailsElement>(".things");
  menu.open = true;
  await press("Escape", { cancelable: true });
  expect(menu.open).toBe(false);
  expect(store.selection.value).toEqual(HEAD);
  await press("Escape", { cancelable: true });
  expect(store.selection.value).toBeNull();
});

it("a press elsewhere closes it, one inside does not", async () => {
  const menu = $<HTMLDetailsElement>(".things");
  menu.open = true;
  const pressed = (at: Element): Promise<void> => act(() => void at.dispatchEvent(new Event("pointerdown", { bubbles: true })));
  await pressed($(".things h3"));
  expect(menu.open).toBe(true);
  await pressed(document.body);
  expect(menu.open).toBe(false);
});
