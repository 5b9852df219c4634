import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { InterventionSpec } from "../protocol/generated";
import { create_store, type Store } from "../store/store";
import { Connection, type ConnectionOptions, type RunSettings } from "./connection";
import { FakeSource, HELLO, snapshot, step } from "./fake_source";
import { run_of, with_run } from "./run_link";
import { socket_url } from "./socket_source";

const SETTINGS: RunSettings = {
  prompt: "a b", apply_chat_template: false, target_token: null, distractor_token: null,
  sampling: { temperature: 0, top_k: 0, top_p: 1, seed: 0, max_new_tokens: 8, stop_at_eos: true },
};
const ZERO: InterventionSpec = {
  intervention_id: "x", operation: "zero", components: [{ kind: "head", layer: 1, index: 0 }], amount: 0, enabled: true,
};
const FROM_NOW = { mode: "from_now", restart: false } as const;

class World {
  readonly store: Store = create_store();
  readonly sources: FakeSource[] = [];
  frames: (() => void)[] = [];
  link: string | null = null;
  hidden = false;
  refusal: string | null = null;
  readonly connection: Connection;

  constructor() {
    const options: ConnectionOptions = {
      open_source: () => {
        const source = new FakeSource();
        this.sources.push(source);
        return source;
      },
      run_link: {
        read: () => this.link,
        write: (run_id) => (this.link = run_id),
        on_change: () => undefined,
      },
      next_frame: (callback) => this.frames.push(callback),
      is_hidden: () => this.hidden,
      probe: () => Promise.resolve(this.refusal),
    };
    this.connection = new Connection(this.store, options);
  }

  get source(): FakeSource {
    return this.sources.at(-1)!;
  }

  frame(): void {
    const due = this.frames;
    this.frames = [];
    for (const callback of due) callback();
  }

  greet(): void {
    this.source.say(HELLO);
  }

  async begin(interventions: InterventionSpec[] = []): Promise<void> {
    this.store.interventions.value = interventions;
    const started = this.connection.start_run(SETTINGS, false);
    const { request_id } = this.source.last("start_run");
    this.source.say({ type: "run_started", request_id, run: snapshot() });
    this.frame();
    await started;
  }
}

let world: World;
beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
  world.connection.start();
});
afterEach(() => {
  world.connection.close();
  vi.useRealTimers();
});

describe("greeting", () => {
  it("opens on hello and subscribes to all that the model can give", () => {
    expect(world.store.connection.value).toBe("connecting");
    world.greet();
    expect(world.store.connection.value).toBe("open");
    expect(world.source.last("subscribe")).toMatchObject({ channels: ["neurons", "heads"], visible: true });
  });

  it("refuses another major version, naming both, and does not try again", () => {
    world.source.say({ ...HELLO, protocol_version: "2.3" });
    expect(world.store.connection.value).toBe("refused");
    expect(world.store.connection_message.value).toMatch(/2\.3.*1\.0/);
    vi.advanceTimersByTime(60_000);
    expect(world.sources).toHaveLength(1);
  });

  it("takes a newer minor version", () => {
    world.source.say({ ...HELLO, protocol_version: "1.9" });
    expect(world.store.connection.value).toBe("open");
  });

  it("shows the server's reason when it closes for good", async () => {
    world.source.listener?.closed(1002, "version mismatch: reload");
    await vi.advanceTimersByTimeAsync(0);
    expect(world.store.connection.value).toBe("refused");
    expect(world.store.connection_message.value).toBe("version mismatch: reload");
  });
});

describe("a run", () => {
  it("starts with the interventions on the page, from position 0, and puts its id into the link", async () => {
    world.greet();
    await world.begin([ZERO]);
    expect(world.source.last("start_run").intervention_log).toEqual([{ from_pos: 0, interventions: [ZERO] }]);
    expect(world.link).toBe("run-1");
  });

  it("applies events once per frame, in order", async () => {
    world.greet();
    await world.begin();
    const told: number[] = [];
    world.store.tokens.subscribe((tokens) => told.push(tokens.length));
    for (let pos = 0; pos < 4; pos++) world.source.say(step(pos));
    expect(world.frames).toHaveLength(1);
    expect(world.store.history.size).toBe(0);
    world.frame();
    expect(world.store.history.size).toBe(4);
    expect(told).toEqual([2, 5]);
    expect(world.store.current_pos.value).toBe(3);
    expect(world.store.run.value?.text).toBe(" t2 t3 t4");
    expect(world.store.tokens.value[3]).toMatchObject({ text: " t3", logprob: -1, entropy: 2, generated: true });
  });

  it("does not add the text of a position that is sent again", async () => {
    world.greet();
    await world.begin();
    for (const pos of [0, 1, 2, 1, 2]) world.source.say(step(pos));
    world.frame();
    expect(world.store.run.value?.text).toBe(" t2 t3");
    expect(world.store.tokens.value).toHaveLength(4);
  });

  it("ignores steps of a run that was left", async () => {
    world.greet();
    await world.begin();
    world.source.say(step(0, { run_id: "another" }));
    world.frame();
    expect(world.store.history.size).toBe(0);
  });

  it("forgets steps and tokens that a recompute voids", async () => {
    world.greet();
    await world.begin();
    for (let pos = 0; pos < 5; pos++) world.source.say(step(pos));
    world.source.say({ type: "run_rewound", run_id: "run-1", from_pos: 0, n_tokens: 3, text: " t2", revision: 1 });
    world.source.say(step(0, { revision: 1, seq: 9 }));
    world.frame();
    expect(world.store.tokens.value).toHaveLength(3);
    expect(world.store.history.positions()).toEqual([0]);
    expect(world.store.run.value).toMatchObject({ text: " t2", revision: 1 });
    expect(world.store.current_pos.value).toBe(0);
  });

  it("a refused command rejects with the server's words and changes nothing", async () => {
    world.greet();
    const started = world.connection.start_run(SETTINGS, false);
    const { request_id } = world.source.last("start_run");
    world.source.say({ type: "error_report", code: "empty_prompt", message: "type something", request_id, run_id: null });
    world.frame();
    await expect(started).rejects.toThrow("type something");
    expect(world.store.run.value).toBeNull();
    expect(world.store.notices.value).toEqual([]);
  });

  it("an error that answers nothing is told", () => {
    world.greet();
    world.source.say({ type: "error_report", code: "slow_down", message: "too fast", request_id: null, run_id: null });
    world.frame();
    expect(world.store.notices.value.map((notice) => notice.text)).toEqual(["too fast"]);
  });
});

describe("interventions", () => {
  const applied = (revision: number, interventions: InterventionSpec[]) => ({
    revision, from_pos: 4, mode: "from_now" as const, interventions, author: "me",
  });

  it("show at once; an answer to an older set does not undo a newer one", async () => {
    world.greet();
    await world.begin();
    const first = world.connection.set_interventions([ZERO], FROM_NOW);
    const first_id = world.source.last("set_interventions").request_id;
    const second = world.connection.set_interventions([], FROM_NOW);
    const second_id = world.source.last("set_interventions").request_id;
    world.source.say({ type: "interventions_applied", run_id: "run-1", applied: applied(1, [ZERO]), request_id: first_id });
    world.frame();
    await first;
    expect(world.store.interventions.value).toEqual([]);
    world.source.say({ type: "interventions_applied", run_id: "run-1", applied: applied(2, []), request_id: second_id });
    world.frame();
    await second;
    expect(world.store.run.value?.revision).toBe(2);
    expect(world.store.interventions.value).toEqual([]);
  });

  it("go back to what held when the server refuses them", async () => {
    world.greet();
    await world.begin();
    const sent = world.connection.set_interventions([ZERO], FROM_NOW);
    expect(world.store.interventions.value).toEqual([ZERO]);
    const { request_id } = world.source.last("set_interventions");
    world.source.say({ type: "error_report", code: "bad_command", message: "no", request_id, run_id: "run-1" });
    world.frame();
    await expect(sent).rejects.toThrow("no");
    expect(world.store.interventions.value).toEqual([]);
  });

  it("go back to what held, too, where two in a row are refused", async () => {
    world.greet();
    await world.begin();
    const refuse = (request_id: number): void => {
      world.source.say({ type: "error_report", code: "bad_command", message: "no", request_id, run_id: "run-1" });
      world.frame();
    };
    const first = world.connection.set_interventions([ZERO], FROM_NOW);
    const first_id = world.source.last("set_interventions").request_id;
    const second = world.connection.set_interventions([ZERO, { ...ZERO, intervention_id: "other" }], FROM_NOW);
    refuse(first_id);
    await expect(first).rejects.toThrow("no");
    expect(world.store.interventions.value).toHaveLength(2);
    refuse(world.source.last("set_interventions").request_id);
    await expect(second).rejects.toThrow("no");
    expect(world.store.interventions.value).toEqual([]);
  });

  it("of another viewer of the same run appear here", async () => {
    world.greet();
    await world.begin();
    world.source.say({ type: "interventions_applied", run_id: "run-1", applied: applied(1, [ZERO]), request_id: null });
    world.frame();
    expect(world.store.touched.value).toEqual(new Set(["head:1:0"]));
  });

  it("wait on the page while there is no run", async () => {
    world.greet();
    await world.connection.set_interventions([ZERO], FROM_NOW);
    expect(world.source.sent.map((command) => command.type)).not.toContain("set_interventions");
    expect(world.store.interventions.value).toEqual([ZERO]);
  });
});

describe("coming back", () => {
  it("reconnects and joins with the newest seq it holds", async () => {
    world.greet();
    await world.begin();
    for (let pos = 0; pos < 3; pos++) world.source.say(step(pos, { seq: 40 + pos }));
    world.frame();
    world.source.listener?.closed(1006, "");
    expect(world.store.connection.value).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(1000);
    expect(world.sources).toHaveLength(2);
    world.greet();
    expect(world.source.last("join_run")).toMatchObject({ run_id: "run-1", last_seq: 42 });
    const { request_id } = world.source.last("join_run");
    world.source.say({ type: "run_joined", request_id, run: snapshot({ state: "running", last_seq: 42 }) });
    world.frame();
    expect(world.store.history.size).toBe(3);
  });

  it("a page opened by a link joins from the beginning", () => {
    world.link = "run-9";
    world.greet();
    expect(world.source.last("join_run")).toMatchObject({ run_id: "run-9", last_seq: -1 });
  });

  it("a run that the server no longer has stays readable and is told", async () => {
    world.greet();
    await world.begin();
    world.source.say(step(0));
    world.frame();
    world.source.listener?.closed(1006, "");
    await vi.advanceTimersByTimeAsync(1000);
    world.greet();
    const { request_id } = world.source.last("join_run");
    world.source.say({ type: "error_report", code: "unknown_run", message: "no such run", request_id, run_id: "run-1" });
    world.frame();
    await vi.advanceTimersByTimeAsync(0);
    expect(world.store.run.value).toMatchObject({ state: "finished", finish_reason: "abandoned" });
    expect(world.store.history.size).toBe(1);
    expect(world.store.notices.value.map((notice) => notice.text)).toEqual(["no such run"]);
    expect(world.link).toBeNull();
  });

  it("commands that waited for an answer fail when the line is lost", async () => {
    world.greet();
    const started = world.connection.start_run(SETTINGS, false);
    world.source.listener?.closed(1006, "");
    await expect(started).rejects.toThrow(/lost/);
  });

  it("a line that falls silent is given up", async () => {
    world.greet();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(world.source.last("ping")).toBeDefined();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(world.sources[0]?.is_closed).toBe(true);
    expect(world.sources.length).toBeGreaterThan(1);
  });

  it("a server that refuses over HTTP is not asked again and again", async () => {
    world.refusal = "wrong token";
    world.source.listener?.closed(1006, "");
    await vi.advanceTimersByTimeAsync(1000);
    world.source.listener?.closed(1006, "");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(world.store.connection_message.value).toBe("wrong token");
    expect(world.sources).toHaveLength(2);
  });
});

describe("holes", () => {
  it("a hidden tab asks for tokens only, and for what it missed on return", async () => {
    world.greet();
    await world.begin();
    world.source.say(step(0));
    world.frame();
    world.hidden = true;
    void world.connection.visibility_changed();
    expect(world.source.last("subscribe").visible).toBe(false);
    for (const pos of [1, 2]) world.source.say(step(pos, { tensors: {}, detail_dropped: true }));
    world.frame();
    world.hidden = false;
    const back = world.connection.visibility_changed();
    const { request_id, visible } = world.source.last("subscribe");
    expect(visible).toBe(true);
    world.source.say({ type: "acknowledged", request_id });
    world.frame();
    await back;
    expect(world.source.last("request_positions").positions).toEqual([2, 1]);
  });

  it("a position that stays empty is asked for twice, not for ever", async () => {
    world.greet();
    await world.begin();
    for (let round = 0; round < 5; round++) {
      world.source.say(step(0, { tensors: {}, detail_dropped: true }));
      world.frame();
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(world.source.sent.filter((command) => command.type === "request_positions")).toHaveLength(2);
  });
});

describe("addresses", () => {
  it("the websocket lies beside the page, under any prefix", () => {
    expect(socket_url("http://127.0.0.1:8765/")).toBe("ws://127.0.0.1:8765/ws");
    expect(socket_url("https://hub.example/user/me/proxy/8765/#run=x")).toBe("wss://hub.example/user/me/proxy/8765/ws");
    expect(socket_url("http://host/livelens/index.html?token=t")).toBe("ws://host/livelens/ws");
  });

  it("the run's id lives in the hash beside other keys", () => {
    expect(with_run("#view=front", "abc")).toBe("#view=front&run=abc");
    expect(with_run("#run=abc", null)).toBe("");
    expect(run_of("#view=front&run=abc")).toBe("abc");
    expect(run_of(`#run=${"x".repeat(65)}`)).toBeNull();
  });
});
