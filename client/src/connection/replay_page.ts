// The page's choice of source: a server, or a recording in its place; and what the page keeps of a run.
import { batch } from "@preact/signals";
import { DecodeError } from "../protocol/errors";
import type { Store } from "../store/store";
import type { Connection } from "./connection";
import { end_block, n_steps_in } from "./replay_file";
import { MAX_RECORDING_BYTES, read_recording } from "./replay_recording";
import { ReplaySource } from "./replay_source";
import { Refusal } from "./requests";
import type { RunLink } from "./run_link";
import type { Source } from "./source";

const ATTEMPTS = 3;
const NO_SOURCE_CODE = 4001;
const NOTHING: Source = {
  open: (listener) => listener.closed(NO_SOURCE_CODE, "There is no server behind this page: drag a recording onto it."),
  send: () => undefined,
  close: () => undefined,
};

export interface SavedRun {
  bytes: Uint8Array<ArrayBuffer>;
  /** Why it is not all of the run; none where it is. */
  note: string | null;
}

export class PageSource {
  private replay: ReplaySource | null = null;

  /** `open_live`: none where no server is behind the page. */
  constructor(
    private readonly store: Store,
    private readonly open_live: (() => Source) | null,
    private readonly link: RunLink,
  ) {}

  get has_server(): boolean {
    return this.open_live !== null;
  }

  /** What `Connection` opens each time it connects. */
  readonly open = (): Source => this.replay ?? this.open_live?.() ?? NOTHING;

  /** The run's link, which a recording neither reads nor changes: leaving it comes back to the run before. */
  readonly run_link: RunLink = {
    read: () => (this.replay ? this.replay.run_id : this.link.read()),
    write: (run_id) => {
      if (!this.replay) this.link.write(run_id);
    },
    on_change: (listener) => this.link.on_change(listener),
  };

  /** Show a recording in place of what is shown. Rejects with DecodeError and leaves the page as it was. */
  async show(bytes: Uint8Array<ArrayBuffer>, name: string, connection: Connection): Promise<void> {
    const pause = (): Promise<void> => new Promise((done) => setTimeout(done, 0));
    const recording = await read_recording(bytes, name, { pause });
    this.replay = new ReplaySource(recording, bytes);
    forget_run(this.store);
    this.store.replay.value = this.replay;
    connection.restart();
  }

  /** Back to the server. */
  leave(connection: Connection): void {
    if (!this.replay || !this.open_live) return;
    this.replay.pause();
    this.replay = null;
    forget_run(this.store);
    this.store.replay.value = null;
    connection.restart();
  }
}

/** Nothing of one source is shown beside what another one says. */
function forget_run(store: Store): void {
  batch(() => {
    store.run.value = null;
    store.tokens.value = [];
    store.analysis.forget();
    store.history.drop_from(0);
    store.current_pos.value = -1;
    store.follow.value = true;
    store.selection.value = null;
    store.hovered.value = null;
    store.interventions.value = [];
    store.tokens_per_second.value = null;
  });
}

/** The run as the server holds it, as a file: the page itself may have missed arrays. Rejects with Refusal. */
export async function save_run(connection: Connection, on_progress: (bytes: number) => void): Promise<SavedRun> {
  const run_id = connection.store.run.peek()?.run_id;
  if (run_id === undefined) throw new Refusal("no_run", "There is no run yet.");
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const saved = await save_once(connection, run_id, on_progress);
    if (saved) return saved;
  }
  throw new Refusal("run_changed", "The run was computed again while it was saved: pause it first.");
}

/** None where the run was computed again between the first part and the last. */
async function save_once(connection: Connection, run_id: string, on_progress: (bytes: number) => void): Promise<SavedRun | null> {
  const parts: Uint8Array[] = [];
  let [size, n_steps] = [0, 0];
  let [n_rewinds, to_pos]: [number | null, number | null] = [null, null];
  let note: string | null = null;
  for (let from_pos: number | null = 0; from_pos !== null; ) {
    const part = await connection.request_recording(run_id, from_pos, to_pos);
    if (n_rewinds !== null && part.n_rewinds !== n_rewinds) return null;
    if (size + part.data.length > MAX_RECORDING_BYTES) {
      note = `the limit of ${MAX_RECORDING_BYTES} bytes was reached: positions from ${from_pos} on were left out`;
      break;
    }
    parts.push(part.data);
    size += part.data.length;
    n_steps += n_steps_in(part.data);
    on_progress(size);
    ({ n_rewinds, to_pos, next_pos: from_pos } = part);
  }
  return { bytes: joined([...parts, end_block(parts, n_steps, note)]), note };
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The recording that came with the page: written into it, or lying beside it; none where there is none. */
export async function page_recording(page: Document): Promise<{ bytes: Uint8Array<ArrayBuffer>; name: string } | null> {
  const block = page.getElementById("livelens-recording");
  if (block) return { bytes: from_base64(block.textContent ?? ""), name: block.dataset.name ?? "recording" };
  const meta = page.querySelector<HTMLMetaElement>('meta[name="livelens-recording"]');
  if (!meta) return null;
  const answer = await fetch(meta.content, { cache: "no-store" });
  if (!answer.ok) throw new DecodeError("bad_frame", `The recording could not be fetched: ${answer.status}.`);
  return { bytes: new Uint8Array(await answer.arrayBuffer()), name: meta.dataset.name ?? "recording" };
}

export function has_own_recording(page: Document): boolean {
  return page.querySelector('#livelens-recording, meta[name="livelens-recording"]') !== null;
}

function from_base64(text: string): Uint8Array<ArrayBuffer> {
  let binary: string;
  try {
    binary = atob(text.trim());
  } catch {
    throw new DecodeError("bad_frame", "The recording inside this page is damaged.");
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
