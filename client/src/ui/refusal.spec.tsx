// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, step, type FakeSource } from "../connection/fake_source";
import { rank_one_recipe } from "../protocol/event_checks";
import type { Command, Hello } from "../protocol/generated";
import { toggled } from "../store/interventions";
import type { Store } from "../store/store";
import type { HeldDirection } from "./interventions/held_direction";
import { model_of } from "./interventions/set_file";
import type { PageState } from "./page";
import { begin_run, close_page, open_page, text_of } from "./page_harness";
import { $, click, labelled, press, write } from "./spec_hands";

const { capabilities } = HELLO.model_info;
const HELLO_ALL: Hello = {
  ...HELLO,
  model_info: {
    ...HELLO.model_info,
    capabilities: {
      ...capabilities,
      channels: ["neurons", "heads", "difference", "causal_effects"],
      operations: ["zero", "scale", "add_direction", "attention_turn", "rank_one_edit"],
    },
  },
};
const HEAD = { kind: "head" as const, layer: 1, index: 1 };
const DIRECTION: HeldDirection = {
  info: { direction_id: "d1", name: "good", recipe: { kind: "put" }, d_model: 4, norm: 2, layer: 1 },
  vector: new Float32Array([1, 1, 1, 1]), separation: null, accuracy: null,
};
const EDIT = {
  info: {
    edit_id: "e1", name: "Rome", recipe: rank_one_recipe({ kind: "put", matrix: "mlp_out", layer: 1 }, "recipe"), d_in: 3, d_model: 4,
    key_norm: 1.5, value_norm: 2,
  },
  key: new Float32Array([1, 0.5, -1]), value: new Float32Array([1, 0, -2, 1]), made: null,
};

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => {
  localStorage.clear();
  ({ store, state, source, settle } = await open_page({ hello: HELLO_ALL }));
  await begin_run({ source, settle }, [0, 1, 2, 3].map((pos) => step(pos)));
});
afterEach(close_page);

const WHY = "Not that one.";

/** The server refuses the newest command of `type`. */
async function refuse(type: Extract<Command["type"], `set_${string}` | `put_${string}` | "fork_run" | "subscribe">): Promise<void> {
  const { request_id } = source.last(type);
  source.say({ type: "error_report", code: "bad_command", message: WHY, request_id, run_id: "run-1" });
  await settle();
}

async function listed(): Promise<void> {
  const applied = { revision: 1, from_pos: 4, mode: "from_now" as const, interventions: toggled([], HEAD), author: "me" };
  source.say({ type: "interventions_applied", run_id: "run-1", applied, request_id: null });
  await settle();
}

const toasts = (): number => document.querySelectorAll(".toast").length;
const count_why = (): number => document.body.textContent!.split(WHY).length - 1;

function told_at(place: string): void {
  expect(text_of(`${place} [role=alert]`)).toBe(WHY);
  expect(toasts()).toBe(0);
  expect(count_why()).toBe(1);
}

describe("a refusal is told once, beside the control", () => {
  it("that switches or scales the selected component, until another is selected", async () => {
    store.selection.value = HEAD;
    await settle();
    await click("#ablate");
    await refuse("set_interventions");
    told_at(".intervene");
    await write(labelled("Scale by, slider"), "2", "input");
    expect(count_why()).toBe(0);
    await refuse("set_interventions");
    told_at(".intervene");
    store.selection.value = { ...HEAD, index: 0 };
    await settle();
    expect(count_why()).toBe(0);
  });

  it("that adds an intervention, or changes one that is listed", async () => {
    store.selection.value = HEAD;
    await settle();
    await click("#draft-toggle");
    await act(() => $<HTMLFormElement>(".draft-form").requestSubmit());
    await refuse("set_interventions");
    told_at(".draft-form");
    await click("#draft-toggle");
    await listed();
    await act(() => $(".intervention [role=switch]").click());
    await refuse("set_interventions");
    told_at(".intervention");
  });

  it("that uses a set", async () => {
    state.interventions.saved.value = [
      { name: "one", model: model_of(HELLO_ALL.model_info), interventions: toggled([], HEAD), directions: [], edits: [] },
    ];
    state.interventions.sets_open.value = true;
    await settle();
    await click('[aria-label="Use one"]');
    await settle();
    await refuse("set_interventions");
    told_at(".sets");
  });

  it("that steers with a direction, whether it is the vector that is refused or the set", async () => {
    state.interventions.directions.value = [DIRECTION];
    await click("#tab-directions");
    await click('[aria-label="Steer with good"]');
    await refuse("put_direction");
    told_at(".direction");
    await click('[aria-label="Steer with good"]');
    source.say({ type: "direction_stored", request_id: source.last("put_direction").request_id, direction: DIRECTION.info });
    await settle();
    await refuse("set_interventions");
    told_at(".direction");
  });

  it("that puts an edit in force", async () => {
    state.edits.held.value = [EDIT];
    await click("#tab-edits");
    await click('[aria-label="Rome in force"]');
    await refuse("put_rank_one_edit");
    told_at(".edit");
    await click('[aria-label="Rome in force"]');
    source.say({ type: "rank_one_edit_stored", request_id: source.last("put_rank_one_edit").request_id, edit: EDIT.info });
    await settle();
    await refuse("set_interventions");
    told_at(".edit");
  });

  it("that turns attention", async () => {
    store.selection.value = HEAD;
    await click("#tab-turn");
    await click('.arc-token[data-pos="3"]');
    await click('.arc-token[data-pos="1"]');
    await click("#turn-apply");
    await refuse("set_interventions");
    told_at(".turn-tools");
  });

  it("that begins a branch", async () => {
    await click("#tab-branches");
    await act(() => $<HTMLFormElement>(".branch-form").requestSubmit());
    await refuse("fork_run");
    told_at(".branch-form");
  });
});

describe("a refusal is told as a message", () => {
  it("where no control was used", async () => {
    store.selection.value = HEAD;
    await press("a");
    await refuse("set_interventions");
    expect(text_of(".toast p")).toBe(WHY);
    expect(count_why()).toBe(1);
  });

  it("where the control is no longer there", async () => {
    state.interventions.directions.value = [DIRECTION];
    await click("#tab-directions");
    await click('[aria-label="Steer with good"]');
    await click("#tab-next");
    await refuse("put_direction");
    expect(text_of(".toast p")).toBe(WHY);
    await click("#tab-directions");
    expect(count_why()).toBe(1);
  });
});

describe("what was switched is said aloud after the server's answer, and not where it refused", () => {
  it("of the clean twin", async () => {
    await press("t");
    await settle();
    expect(state.announcement.value).toBe("");
    await refuse("set_twin");
    expect(state.announcement.value).toBe("");
    await press("t");
    const { request_id } = source.last("set_twin");
    source.say({ type: "twin_changed", run_id: "run-1", mode: "teacher_forced", from_pos: 4, request_id, author: "me" });
    await settle();
    expect(state.announcement.value).toBe("Clean twin: same text");
  });

  it("of live causal, which is off again where it was refused", async () => {
    await press("m");
    await settle();
    expect(state.announcement.value).toBe("");
    await refuse("subscribe");
    expect(state.announcement.value).toBe("");
    expect(store.is_measuring_live.value).toBe(false);
    expect(text_of(".toast p")).toBe(WHY);
    await press("m");
    source.say({ type: "acknowledged", request_id: source.last("subscribe").request_id });
    await settle();
    expect(state.announcement.value).toBe("Every new token is measured");
  });

  it("of a whole set, and of a place in the list", async () => {
    const both = [...toggled([], HEAD), ...toggled([], { ...HEAD, index: 0 })];
    state.interventions.saved.value = [
      { name: "two", model: model_of(HELLO_ALL.model_info), interventions: both, directions: [], edits: [] },
    ];
    state.interventions.sets_open.value = true;
    await settle();
    const take = async (revision: number): Promise<void> => {
      const { request_id, interventions } = source.last("set_interventions");
      const applied = { revision, from_pos: 4, mode: "from_now" as const, interventions, author: "me" };
      source.say({ type: "interventions_applied", run_id: "run-1", applied, request_id });
      await settle();
    };
    await click('[aria-label="Use two"]');
    await settle();
    await refuse("set_interventions");
    expect(state.announcement.value).toBe("");
    await click('[aria-label="Use two"]');
    await settle();
    expect(state.announcement.value).toBe("");
    await take(1);
    expect(state.announcement.value).toBe("two: 2 interventions");
    state.interventions.opened.value = "L1H1";
    await settle();
    await click('[aria-label="Let it act later"]');
    await settle();
    expect(state.announcement.value).toBe("two: 2 interventions");
    await take(2);
    expect(state.announcement.value).toBe("L1H1: 2 of 2");
  });
});
