// @vitest-environment jsdom
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NumberWritten, TextWritten } from "./written_field";

const place = document.createElement("div");
let taken: string[] = [];

beforeEach(() => {
  taken = [];
});
afterEach(() => render(null, place));

const draw = (value: number): Promise<void> => act(() => render(<NumberWritten value={value} on_written={(text) => taken.push(text)} />, place));
const field = (): HTMLInputElement => place.querySelector("input")!;
const type = (text: string): Promise<void> => act(() => {
  field().value = text;
  field().dispatchEvent(new Event("input", { bubbles: true }));
});
const leave = (): Promise<void> => act(() => void field().dispatchEvent(new Event("change", { bubbles: true })));

describe("a field that is being written", () => {
  it("keeps its text while the page is drawn anew, and tells it once it is left", async () => {
    await draw(17);
    await type("3");
    await draw(17);
    await draw(18);
    expect(field().value).toBe("3");
    expect(taken).toEqual([]);
    await leave();
    expect(taken).toEqual(["3"]);
    await draw(3);
    expect(field().value).toBe("3");
  });

  it("shows what holds again where its text was not taken", async () => {
    await draw(17);
    await type("999");
    await leave();
    expect(field().value).toBe("17");
  });

  it("may have several lines", async () => {
    const area = (value: string): Promise<void> => act(() => render(<TextWritten value={value} on_written={(text) => taken.push(text)} />, place));
    await area("");
    const place_of = place.querySelector("textarea")!;
    await act(() => {
      place_of.value = "one\ntwo";
      place_of.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await area("");
    expect(place_of.value).toBe("one\ntwo");
    await act(() => void place_of.dispatchEvent(new Event("change", { bubbles: true })));
    expect(taken).toEqual(["one\ntwo"]);
  });
});
