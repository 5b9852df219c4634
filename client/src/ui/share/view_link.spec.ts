// An address that is opened is looked at: also where the run comes out of a recording and no server is there.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection, type ConnectionOptions } from "../../connection/connection";
import { FakeSource, HELLO, snapshot, step } from "../../connection/fake_source";
import { PageSource } from "../../connection/replay_page";
import { create_store, type Store } from "../../store/store";
import { create_page_state } from "../page";
import { create_run_form } from "../run/run_form";
import { keep_view_link } from "./view_link";

const FILES = import.meta.glob<string>("../../../../shared_schema/fixtures/recording/*.bin", {
  query: "?inline", import: "default", eager: true,
});
const [inlined = ""] = Object.values(FILES);
const FILE = Uint8Array.from(atob(inlined.slice(inlined.indexOf(",") + 1)), (char) => char.charCodeAt(0));

let store: Store;
let end: () => void;
let frames: (() => void)[];

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  end();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** As much of a browser as an address needs; the fixture cannot be had in jsdom. */
function stub_address(hash: string): void {
  const address = new URL(`http://localhost/${hash}`);
  vi.stubGlobal("location", address);
  vi.stubGlobal("history", { replaceState: (_state: null, _title: string, to: string) => (address.href = new URL(to, address).href) });
  vi.stubGlobal("window", new EventTarget());
}

/** A page opened at `hash`, on the source that `make` makes for its store. */
function open_at<T>(hash: string, make: (store: Store) => { source: T } & Pick<ConnectionOptions, "open_source" | "run_link">): { source: T; connection: Connection } {
  stub_address(hash);
  store = create_store();
  frames = [];
  const state = create_page_state();
  state.scene_problem.value = "no WebGL2";
  const { source, open_source, run_link } = make(store);
  const connection = new Connection(store, {
    open_source, run_link, next_frame: (callback) => frames.push(callback), is_hidden: () => false, probe: () => Promise.resolve(null),
  });
  end = keep_view_link({ store, state, form: create_run_form() });
  connection.start();
  return { source, connection };
}

async function settle(): Promise<void> {
  for (const frame of frames.splice(0)) frame();
  await vi.advanceTimersByTimeAsync(500);
}

/** With the recording in it. */
async function open(hash: string): Promise<void> {
  const { source, connection } = open_at(hash, (store) => {
    const source = new PageSource(store, null, { read: () => null, write: () => undefined, on_change: () => undefined });
    return { source, open_source: source.open, run_link: source.run_link };
  });
  await Promise.all([source.show(FILE, "run.livelens", connection), vi.advanceTimersByTimeAsync(50)]);
  for (let n = 0; n < 4; n++) await settle();
}

/** That joins the run of the address, which has ended: its tokens are here, its steps still to come. */
async function join(hash: string): Promise<FakeSource> {
  const { source } = open_at(hash, () => {
    const source = new FakeSource();
    return { source, open_source: () => source, run_link: { read: () => "run-1", write: () => undefined, on_change: () => undefined } };
  });
  source.say(HELLO);
  const tokens = Array.from({ length: 7 }, (_, pos) => ({ token_id: pos, text: `t${pos}`, logprob: null }));
  source.say({ type: "run_joined", request_id: source.last("join_run").request_id, run: snapshot({ state: "finished", tokens }) });
  await settle();
  return source;
}

describe("the address of a run that has ended", () => {
  it("waits for the token's step, which comes after the run", async () => {
    const source = await join("#run=run-1&sel=L0H1&pos=3");
    expect(store.run.value?.state).toBe("finished");
    for (let pos = 0; pos < 6; pos++) source.say(step(pos));
    await settle();
    expect([store.current_pos.value, store.follow.value]).toEqual([3, false]);
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
  });

  it("does not wait for a token that it has not", async () => {
    await join("#run=run-1&sel=L0H1&pos=6");
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
    expect(store.follow.value).toBe(true);
  });
});

describe("the address of a page with a recording in it", () => {
  it("is looked at: its token, its component, its layers", async () => {
    await open("#sel=L0H1&pos=3&layers=0-0");
    expect(store.history.newest_pos).toBeGreaterThan(3);
    expect([store.current_pos.value, store.follow.value]).toEqual([3, false]);
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
    expect(store.layer_range.value).toEqual({ first_layer: 0, last_layer: 0 });
    expect(location.hash).toBe("#sel=L0H1&pos=3&layers=0-0");
  });

  it("with a token that the recording has not is looked at but for that", async () => {
    await open("#sel=L0H1&pos=9999");
    expect(store.follow.value).toBe(true);
    expect(store.current_pos.value).toBe(store.history.newest_pos);
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
    expect(location.hash).toBe("#sel=L0H1");
  });

  it("that says nothing follows the run", async () => {
    await open("");
    expect(store.follow.value).toBe(true);
    expect(location.hash).toBe("");
  });
});
