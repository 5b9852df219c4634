// A graph from a file: whose it is, and the way back to the run's own.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { add_notice } from "../../store/store";
import { take_dropped_json } from "../json_file";
import { use_page, type Page } from "../page";
import { metric_words } from "./node_words";
import { GraphFileError, read_graph } from "./graph_file";
import { draw_opened, why_flat } from "./opened_graph";

export function OpenedBar(): JSX.Element | null {
  const page = use_page();
  useEffect(() => draw_opened(page), [page]);
  const opened = page.state.why.opened.value;
  if (!opened) return null;
  const info = page.store.model_info.value;
  const is_other = info !== null && info.weights_sha256 !== opened.weights_sha256;
  const flat = why_flat(opened, info);
  return (
    <div class="why-opened" role="status">
      <span>
        <b>{opened.file_name}</b>: {metric_words(opened.graph.metric)}, {opened.model_name}{" "}
        {is_other && <span class="off-mark">other weights than the running model's</span>}
        <span class="muted"> {flat ?? "Drawn in the picture too, with its own tokens."}</span>
      </span>
      <button type="button" class="button small" onClick={() => (page.state.why.opened.value = null)}>Close this graph</button>
    </div>
  );
}

/** Show the graph in `file`, or say in one sentence why not. */
export async function open_file(page: Page, file: File): Promise<void> {
  try {
    page.state.why.opened.value = read_graph(await file.text(), file.name);
    page.state.why.view.value = "graph";
  } catch (error) {
    const message = error instanceof GraphFileError ? error.message : "This file could not be read.";
    add_notice(page.store, "fault", message);
  }
}

/** A graph dropped on the panel. */
export function take_dropped(event: DragEvent, page: Page): void {
  const file = take_dropped_json(event);
  if (file) void open_file(page, file);
}
