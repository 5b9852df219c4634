// What a person can keep of a run, and open again.
import { signal, type Signal } from "@preact/signals";
import type { PageConnection } from "../../connection/page_connection";
import { save_run } from "../../connection/replay_page";
import { MAX_RECORDING_BYTES } from "../../connection/replay_recording";
import { Refusal } from "../../connection/requests";
import { DecodeError } from "../../protocol/errors";
import { add_notice, type Store } from "../../store/store";
import { save_file } from "../why/picture_file";
import { create_film_maker, type FilmMaker } from "./film_maker";
import { page_with_recording } from "./single_page";
import { table_csv } from "./tokens_csv";
import { table_parquet } from "./tokens_parquet";
import { tokens_table } from "./tokens_table";
import { link_to_view, type ViewLinkParts } from "./view_link";

export type TableFormat = "csv" | "parquet";

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
  /** The picture as PNG with labels and legend, `scale` pixels to one of the page's. */
  save_picture(scale: number): Promise<void>;
  film: FilmMaker;
  /** The tokens as a table. */
  save_tokens(format: TableFormat): Promise<void>;
  copy_link(with_prompt: boolean): Promise<void>;
}

export const RECORDING_SUFFIX = ".livelens";

export function create_keep(view: ViewLinkParts, { connection, source }: PageConnection): Keep {
  const { store, state } = view;
  const busy = signal<string | null>(null);
  const film = create_film_maker((blob, is_cut) => {
    if (is_cut) add_notice(store, "info", "The film has grown too large and was ended.");
    save_file(blob, file_name(store, ".webm"), "video/webm");
  });

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
    save_picture: (scale) => attempt("Drawing", async () => {
      const canvas = state.scene.peek()?.still(scale);
      if (canvas) save_file(await png_of(canvas), file_name(store, ".png"), "image/png");
    }),
    film,
    save_tokens: (format) => attempt("Saving", async () => {
      const table = tokens_table(store);
      if (format === "csv") save_file(table_csv(table), file_name(store, ".csv"), "text/csv");
      else save_file(new Blob([await table_parquet(table)]), file_name(store, ".parquet"), "application/vnd.apache.parquet");
    }),
    async copy_link(with_prompt) {
      const link = link_to_view(view, with_prompt);
      try {
        await navigator.clipboard.writeText(link);
        add_notice(store, "info", with_prompt ? "The link is copied, the prompt is in it." : "The link is copied.");
      } catch {
        add_notice(store, "info", link); // no clipboard here: to be copied by hand
      }
    },
  };
}

function png_of(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((done, failed) => {
    const none = (): void => failed(new Refusal("no_picture", "The picture is too large for this browser: take a smaller scale."));
    canvas.toBlob((blob) => (blob ? done(blob) : none()), "image/png");
  });
}

/** A name made of the prompt's first words. */
export function file_name(store: Store, suffix: string): string {
  const replay = store.replay.peek();
  if (replay) return replay.name.replace(/\.(livelens|html)$/, "") + suffix;
  const words = (store.run.peek()?.prompt ?? "").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return `livelens-${words.slice(0, 5).join("-").slice(0, 40) || "run"}${suffix}`;
}
