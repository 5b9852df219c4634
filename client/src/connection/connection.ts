// The page's one connection: events in (applied once per frame), commands out (promises), and coming back
// after a lost line, a reload or a hidden tab.
import type { DecodedAttention, DecodedEvent, DecodedValues } from "../protocol/decode";
import {
  MEASURED_CHANNELS, PROTOCOL_VERSION,
  type Command, type Component, type DirectionInfo, type ForkRun, type Hello, type InterventionSpec, type PutDirection,
  type PutRankOneEdit, type RankOneEditInfo, type RecordingPart, type RunSnapshot, type StartRun,
} from "../protocol/generated";
import type { Ask } from "../protocol/questions";
import type { TwinMode } from "../store/types";
import { NO_MODEL } from "../store/replay";
import { add_notice, type Store } from "../store/store";
import { apply_events } from "./apply";
import { HoleFiller } from "./hole_filler";
import { Lifeline } from "./lifeline";
import { ask_question, type QuestionLine } from "./questions";
import { Refusal, Requests } from "./requests";
import type { RunLink } from "./run_link";
import { SentSet } from "./sent_set";
import type { Source } from "./source";
import { Speed } from "./speed";

export { Refusal } from "./requests";

/** A command as its caller writes it; the connection adds the request_id. */
type Draft<C> = C extends Command ? Omit<C, "request_id"> : never;
export type RunSettings = Omit<StartRun, "type" | "request_id" | "intervention_log" | "start_paused">;
export type ForkSettings = Omit<ForkRun, "type" | "request_id" | "run_id">;
export type RunCommand = "pause" | "resume" | "step_once" | "stop";
export interface ApplyOptions {
  mode: "from_now" | "recompute";
  restart: boolean;
}

export interface ConnectionOptions {
  open_source: () => Source;
  run_link: RunLink;
  /** Calls back once, before the next picture; at once-ish where the page is hidden. */
  next_frame: (callback: () => void) => void;
  is_hidden: () => boolean;
  /** Why no connection comes about, where the server says so over HTTP; none where it cannot be reached. */
  probe: () => Promise<string | null>;
}

/** Asked for by a switch. Differences are asked for always: they come, and cost, only while a clean twin is carried. */
const SWITCHED_CHANNELS: readonly string[] = MEASURED_CHANNELS.filter((channel) => channel !== "difference");
const MAX_OWN_IDS = 20;

export class Connection {
  private readonly requests = new Requests();
  private readonly holes: HoleFiller;
  private readonly sent_set: SentSet;
  private readonly speed = new Speed();
  private readonly lifeline: Lifeline;
  private queue: DecodedEvent[] = [];
  private readonly listeners: ((event: DecodedEvent) => void)[] = [];
  private frame_asked = false;
  private last_seq = -1;

  constructor(
    readonly store: Store,
    private readonly options: ConnectionOptions,
  ) {
    this.lifeline = new Lifeline({
      open_source: options.open_source,
      probe: options.probe,
      ping: () => void this.ask({ type: "ping" }).catch(() => undefined),
      state: (state, message) => {
        if (state !== "open") this.requests.fail_all("The connection to the server was lost.");
        store.connection.value = state;
        store.connection_message.value = message;
      },
      event: (event) => this.receive(event),
      damaged: (message) => add_notice(store, "fault", `A message from the server could not be read: ${message}`),
    });
    this.sent_set = new SentSet(store);
    this.holes = new HoleFiller(store, options.is_hidden, (run_id, positions) => {
      this.ask({ type: "request_positions", run_id, positions }).catch((error: unknown) => this.report(error));
    });
    options.run_link.on_change(() => void this.follow_link());
  }

  start(): void {
    this.lifeline.start();
  }

  /** Try again now: the network is back, or the person asks. */
  retry(): void {
    this.lifeline.retry();
  }

  /** Another source is opened in place of this one: nothing that it said still counts. */
  restart(): void {
    this.queue = [];
    this.last_seq = -1;
    this.lifeline.retry();
  }

  close(): void {
    this.lifeline.close();
  }

  // -------------------------------------------------------------------------------------- commands

  /** Begin a run; the interventions on the page hold from its first position. Rejects with Refusal. */
  async start_run(settings: RunSettings, start_paused: boolean): Promise<RunSnapshot> {
    const interventions = [...this.store.interventions.peek()];
    const intervention_log = interventions.length ? [{ from_pos: 0, interventions }] : [];
    const twin = this.store.twin_mode.peek();
    const draft = { type: "start_run", ...settings, twin, start_paused, intervention_log } as const;
    return (await this.answer_to("run_started", draft)).run;
  }

  /** Begin a run that branches off the watched one. Rejects with Refusal. */
  async fork_run(fork: ForkSettings): Promise<void> {
    const twin = this.store.twin_mode.peek();
    await this.ask({ type: "fork_run", run_id: this.require_run(), twin, ...fork });
  }

  /** Watch another run that the server holds; `follows`: only to go along with who shares. Rejects with Refusal. */
  async watch_run(run_id: string, follows = false): Promise<void> {
    this.last_seq = -1;
    await this.ask({ type: "join_run", run_id, last_seq: -1, follows });
  }

  /** Whether this is the run that is watched, or on its way to be. */
  is_going_to(run_id: string): boolean {
    return this.options.run_link.read() === run_id || this.store.run.peek()?.run_id === run_id;
  }

  /** Look at the same as the viewers that give this key; see `sharing.ts`. Rejects with Refusal. */
  async share_view(key: string): Promise<void> {
    await this.ask({ type: "share_view", key });
  }

  /** Tell those this page shares with what it looks at. Rejects with Refusal. */
  async set_selection(component: Component | null, pos: number | null): Promise<void> {
    await this.ask({ type: "set_selection", component, pos });
  }

  /** Have `listener` told every event once the store knows it. */
  on_event(listener: (event: DecodedEvent) => void): void {
    this.listeners.push(listener);
  }

  async command_run(type: RunCommand): Promise<void> {
    const run = this.store.run.peek();
    if (run) await this.ask({ type, run_id: run.run_id });
  }

  /** Show `interventions` at once and send them where a run can take them; the server's answer decides. */
  async set_interventions(interventions: readonly InterventionSpec[], options: ApplyOptions): Promise<void> {
    if (this.store.replay.peek()) throw new Refusal("no_model", NO_MODEL);
    const run = this.store.run.peek();
    if (run && run.state !== "finished" && this.store.connection.peek() !== "open") {
      throw new Refusal("not_connected", "There is no connection to the server right now.");
    }
    this.store.interventions.value = interventions;
    if (!run || run.state === "finished") return; // kept here: the next run starts with it
    const { request_id, answer } = this.requests.expect();
    this.lifeline.send({
      type: "set_interventions", request_id, run_id: run.run_id, interventions: [...interventions],
      mode: options.mode, recompute_from: 0, restart: options.mode === "recompute" && options.restart,
    });
    await this.sent_set.await_answer(request_id, interventions, answer);
  }

  /** Carry the clean twin so from the next token on, or no longer; without a run that goes on, with the next one. */
  async set_twin(mode: TwinMode): Promise<void> {
    const run = this.store.run.peek();
    this.store.twin_mode.value = mode;
    if (!run || run.state === "finished") return;
    try {
      await this.ask({ type: "set_twin", run_id: run.run_id, mode });
    } catch (error) {
      if (error instanceof Refusal && error.code === "superseded") return; // a newer one of this page holds instead
      const watched = this.store.run.peek();
      if (watched) this.store.twin_mode.value = watched.twin;
      throw error;
    }
  }

  /** Have the strongest components of every new token measured, or no longer; without a connection, with the next one. */
  async set_live(is_on: boolean): Promise<void> {
    const { is_measuring_live, connection } = this.store;
    is_measuring_live.value = is_on;
    if (connection.peek() !== "open") return;
    try {
      await this.subscribe();
    } catch (error) {
      if (error instanceof Refusal && error.code === "connection_lost") return; // asked for again with the next one
      is_measuring_live.value = !is_on;
      throw error;
    }
  }

  async request_values(components: Component[], from_pos = 0, to_pos: number | null = null): Promise<DecodedValues> {
    const run_id = this.require_run();
    return this.answer_to("values_ready", { type: "request_values", run_id, components, from_pos, to_pos });
  }

  async request_attention(layer: number, head_index: number, query_pos: number): Promise<DecodedAttention> {
    const run_id = this.require_run();
    return this.answer_to("attention_ready", { type: "request_attention", run_id, layer, head_index, query_pos });
  }

  /** Give the server a direction to steer with. Rejects with Refusal. */
  async put_direction(direction: Omit<PutDirection, "type" | "request_id">): Promise<DirectionInfo> {
    return (await this.answer_to("direction_stored", { type: "put_direction", ...direction })).direction;
  }

  /** Give the server a rank-1 edit of a weight matrix. Rejects with Refusal. */
  async put_rank_one_edit(edit: Omit<PutRankOneEdit, "type" | "request_id">): Promise<RankOneEditInfo> {
    return (await this.answer_to("rank_one_edit_stored", { type: "put_rank_one_edit", ...edit })).edit;
  }

  /** The next part of the run's recording: see `request_recording`. */
  async request_recording(run_id: string, from_pos: number, to_pos: number | null): Promise<RecordingPart> {
    return this.answer_to("recording_part", { type: "request_recording", run_id, from_pos, to_pos });
  }

  /** Why a token, what a part does: see `Ask`. Rejects with Refusal. */
  readonly ask_about_run: Ask = (question, on_progress, given_up) =>
    ask_question(this.question_line(), question, on_progress, given_up);

  /** The tab was hidden or shown: tokens only while nobody looks, the missing arrays on return. */
  async visibility_changed(): Promise<void> {
    const is_visible = !this.options.is_hidden();
    this.apply_queue();
    if (is_visible) this.lifeline.retry_if_waiting();
    if (this.store.connection.peek() !== "open") return;
    try {
      await this.subscribe();
      if (is_visible) this.holes.fill();
    } catch (error) {
      this.report(error);
    }
  }

  // -------------------------------------------------------------------------------------- inside

  private question_line(): QuestionLine {
    return {
      requests: this.requests,
      run_id: () => this.store.run.peek()?.run_id ?? null,
      is_open: () => this.store.connection.peek() === "open",
      send: (command) => this.lifeline.send(command),
    };
  }

  private require_run(): string {
    const run = this.store.run.peek();
    if (!run) throw new Refusal("no_run", "There is no run yet.");
    return run.run_id;
  }

  private ask(draft: Draft<Command>): Promise<DecodedEvent> {
    if (draft.type !== "ping" && this.store.connection.peek() !== "open") {
      return Promise.reject(new Refusal("not_connected", "There is no connection to the server right now."));
    }
    const { request_id, answer } = this.requests.expect();
    this.lifeline.send({ ...draft, request_id } as Command);
    return answer;
  }

  /** The answer to a command, which is an event of this type. */
  private async answer_to<Type extends DecodedEvent["type"]>(
    type: Type, draft: Draft<Command>,
  ): Promise<Extract<DecodedEvent, { type: Type }>> {
    const event = await this.ask(draft);
    if (event.type !== type) throw new Refusal("unexpected_answer", `${draft.type} was answered by ${event.type}`);
    return event as Extract<DecodedEvent, { type: Type }>;
  }

  private subscribe(): Promise<DecodedEvent> {
    const given = this.store.model_info.peek()?.capabilities.channels ?? [];
    const is_live = this.store.is_measuring_live.peek();
    const channels = given.filter((channel) => is_live || !SWITCHED_CHANNELS.includes(channel));
    return this.ask({ type: "subscribe", channels, visible: !this.options.is_hidden() });
  }

  private receive(event: DecodedEvent): void {
    if (event.type === "hello") {
      this.greet(event);
      return;
    }
    if (event.type === "step") {
      this.last_seq = Math.max(this.last_seq, event.seq);
      if (event.detail_dropped || event.lost.length > 0) this.holes.fill_soon();
    }
    this.queue.push(event);
    if (this.frame_asked) return;
    this.frame_asked = true;
    this.options.next_frame(() => this.apply_queue());
  }

  private apply_queue(): void {
    this.frame_asked = false;
    const events = this.queue;
    if (events.length === 0) return;
    this.queue = [];
    apply_events(this.store, events, this.speed);
    for (const event of events) this.after(event);
    this.sent_set.show();
  }

  /** What follows from an event once the store knows it. */
  private after(event: DecodedEvent): void {
    this.sent_set.hear(event);
    if (event.type === "run_started" || event.type === "run_joined") {
      this.options.run_link.write(event.run.run_id);
      this.holes.forget();
      if (event.type === "run_started") this.last_seq = -1;
      if (event.run.notice) add_notice(this.store, "info", event.run.notice);
    }
    if (event.type === "run_rewound") this.holes.forget();
    if (event.type === "run_finished" && event.message) this.tell_end(event.reason, event.message);
    for (const listener of this.listeners) listener(event);
    const is_answer = this.requests.settle(event);
    if (event.type === "error_report" && !is_answer) add_notice(this.store, "fault", event.message);
  }

  private tell_end(reason: string, message: string): void {
    const is_expected = reason === "eos" || reason === "max_new_tokens" || reason === "stopped";
    if (!is_expected) add_notice(this.store, reason === "context_full" ? "info" : "fault", message);
  }

  private greet(hello: Hello): void {
    const [major] = hello.protocol_version.split(".");
    if (major !== PROTOCOL_VERSION.split(".")[0]) {
      const versions = `the server speaks protocol ${hello.protocol_version}, this page ${PROTOCOL_VERSION}`;
      this.lifeline.refuse(`Reload the page: ${versions}.`);
      return;
    }
    this.store.model_info.value = hello.model_info;
    this.store.limits.value = hello.limits;
    const ids = this.store.own_viewer_ids;
    if (hello.viewer_id) ids.value = [...ids.peek(), hello.viewer_id].slice(-MAX_OWN_IDS);
    this.lifeline.greeted();
    void this.subscribe().catch((error: unknown) => this.report(error));
    void this.follow_link();
  }

  /** Join the run in the page's address: after a reload, a lost connection, or a pasted link. */
  private async follow_link(): Promise<void> {
    const run_id = this.options.run_link.read();
    if (!run_id || this.store.connection.peek() !== "open") return;
    const is_held = this.store.run.peek()?.run_id === run_id;
    if (!is_held) this.last_seq = -1;
    try {
      // The run of an address that was loaded again or pasted: nobody is taken along.
      await this.ask({ type: "join_run", run_id, last_seq: this.last_seq, follows: true });
      if (is_held) this.holes.fill_soon();
    } catch (error) {
      if (error instanceof Refusal && error.code !== "connection_lost") this.lose_run(run_id, error.message);
    }
  }

  /** The server no longer has the run: what is on the page stays readable. */
  private lose_run(run_id: string, message: string): void {
    const run = this.store.run.peek();
    if (run?.run_id === run_id && run.state !== "finished") {
      this.store.run.value = { ...run, state: "finished", finish_reason: "abandoned" };
    }
    this.options.run_link.write(null);
    add_notice(this.store, "info", message);
  }

  private report(error: unknown): void {
    if (!(error instanceof Refusal)) throw error;
    if (error.code !== "connection_lost" && error.code !== "not_connected") {
      add_notice(this.store, "fault", error.message);
    }
  }
}
