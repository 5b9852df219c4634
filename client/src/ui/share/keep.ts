// What a person can keep of a run, and open again.
import { signal, type Signal } from "@preact/signals";
import type { PageConnection } from "../../connection/page_connection";
import { save_run } from "../../connection/replay_page";
import { MAX_RECORDING_BYTES } from "../../connection/replay_recording";
import { Refusal } from "../../connection/requests";
import { DecodeError } from "../../protocol/errors";
import { add_notice, type Store } from "../../store/store";
import { save_file } from "../why/picture_file";
import { page_with_recording } from "./single_page";

export interface Keep {
  /** A server is behind the page; where none is, a recording cannot be left. */
  has_server: boolean;
  /** What is being done, in words; none while nothing is. */
  busy: Signal<string | null>;
  /** A file is being dragged over the page. */
  dragged_over: Signal<boolean>;
  save_recording(): Promise<void>;
  /** The page and the recording in one file that needs neither server nor network. */
  save_page(): Promise<void>;
  open(file: File): Promise<void>;
  leave(): void;
}

export const RECORDING_SUFFIX = ".livelens";

export function create_keep(store: Store, { connection, source }: PageConnection): Keep {
  const busy = signal<string | null>(null);

  /** Do one thing at a time; what goes wrong is said. */
  async function attempt(words: string, work: () => Promise<void>): Promise<void> {
    if (busy.peek() !== null) return;
    busy.value = words;
    try {
      await work();
    } catch (error) {
      const is_known = error instanceof Refusal || error instanceof DecodeError || error instanceof DOMException;
      if (!is_known) throw error;
      add_notice(store, "fault", error.message);
    } finally {
      busy.value = null;
    }
  }

  /** The shown run as a file, told in words where it is not all of it. */
  async function recorded(): Promise<Uint8Array<ArrayBuffer>> {
    const replay = store.replay.peek();
    if (replay) return replay.bytes;
    const saved = await save_run(connection, (bytes) => (busy.value = `Saving: ${(bytes / 1e6).toFixed(1)} MB`));
    if (saved.note !== null) add_notice(store, "info", `The recording is not all of the run: ${saved.note}.`);
    return saved.bytes;
  }

  return {
    has_server: source.has_server,
    busy,
    dragged_over: signal(false),
    save_recording: () => attempt("Saving", async () => {
      save_file(new Blob([await recorded()]), file_name(store, RECORDING_SUFFIX), "application/octet-stream");
    }),
    save_page: () => attempt("Saving", async () => {
      const page = await page_with_recording(await recorded(), file_name(store, RECORDING_SUFFIX));
      save_file(page, file_name(store, ".html"), "text/html");
    }),
    open: (file) => attempt(`Opening ${file.name}`, async () => {
      if (file.size > MAX_RECORDING_BYTES) {
        throw new Refusal("too_large", `${file.name} has ${file.size} bytes; a recording may have ${MAX_RECORDING_BYTES}.`);
      }
      await source.show(new Uint8Array(await file.arrayBuffer()), file.name, connection);
    }),
    leave: () => source.leave(connection),
  };
}

/** A name made of the prompt's first words. */
export function file_name(store: Store, suffix: string): string {
  const replay = store.replay.peek();
  if (replay) return replay.name.replace(/\.(livelens|html)$/, "") + suffix;
  const words = (store.run.peek()?.prompt ?? "").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return `livelens-${words.slice(0, 5).join("-").slice(0, 40) || "run"}${suffix}`;
}
