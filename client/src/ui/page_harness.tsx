// For specs in jsdom: the whole page without a picture, on a source that records and says what a spec tells it to.
import { render } from "preact";
import { act } from "preact/test-utils";
import { vi } from "vitest";
import { Connection } from "../connection/connection";
import { FakeSource, HELLO, snapshot } from "../connection/fake_source";
import type { DecodedStep } from "../protocol/decode";
import type { Hello } from "../protocol/generated";
import { create_store, type Store } from "../store/store";
import { create_actions } from "./actions";
import { App } from "./app";
import { create_page_state, type PageState } from "./page";
import { create_run_form } from "./run/run_form";
import { watch_shown_step } from "./shown_step";

export interface PageUnderTest {
  store: Store;
  state: PageState;
  source: FakeSource;
  /** Let everything waiting happen: animation frames, timers of less than 400 ms, promises, renders. */
  settle(): Promise<void>;
}

/** What the page asks for and jsdom does not have. */
function complete_jsdom(): void {
  HTMLDialogElement.prototype.showModal = function (): void {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function (): void {
    this.open = false;
  };
  HTMLCanvasElement.prototype.getContext = (() => null) as HTMLCanvasElement["getContext"];
  Element.prototype.scrollIntoView = () => undefined; // jsdom lays nothing out
}

/** Open the page with its drawer open and the server's `hello` said; time stands still but for `settle`. */
export async function open_page(
  { hello = HELLO, prepare = () => undefined }: { hello?: Hello; prepare?: (state: PageState) => void } = {},
): Promise<PageUnderTest> {
  vi.useFakeTimers();
  complete_jsdom();
  const frames: (() => void)[] = [];
  const store = create_store();
  const state = create_page_state();
  state.drawer_open.value = true;
  prepare(state);
  const source = new FakeSource();
  const connection = new Connection(store, {
    open_source: () => source,
    run_link: { read: () => null, write: () => undefined, on_change: () => undefined },
    next_frame: (callback) => frames.push(callback),
    is_hidden: () => false,
    probe: () => Promise.resolve(null),
  });
  const form = create_run_form();
  const mount_scene = (): Promise<never> => Promise.reject(new Error("This browser has no WebGL2."));
  const page = { store, state, actions: create_actions(store, state, form, connection), mount_scene };
  await act(() => {
    render(<App page={page} form={form} shown={watch_shown_step(store)} toggle_theme={() => undefined} />, document.body);
    connection.start();
    source.say(hello);
  });
  const settle = (): Promise<void> => act(async () => {
    for (const frame of frames.splice(0)) frame();
    await vi.advanceTimersByTimeAsync(400);
  });
  await settle();
  return { store, state, source, settle };
}

/** Press Run and have the server begin that run and send these steps of it. */
export async function begin_run({ source, settle }: Pick<PageUnderTest, "source" | "settle">, steps: readonly DecodedStep[]): Promise<void> {
  await act(() => document.getElementById("run")!.click());
  source.say({ type: "run_started", request_id: source.last("start_run").request_id, run: snapshot() });
  for (const each of steps) source.say(each);
  await settle();
}

export function close_page(): void {
  render(null, document.body);
  vi.useRealTimers();
}

export const text_of = (selector: string): string => document.querySelector(selector)?.textContent ?? "";
