// A recording dragged onto the page is opened, wherever it is let go.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { use_page } from "../page";
import type { Keep } from "../share/keep";

export function DropPlace(): JSX.Element | null {
  const { keep } = use_page();
  useEffect(() => (keep ? listen_to_drops(keep) : undefined), [keep]);
  if (!keep?.dragged_over.value) return null;
  return <div class="drop-place" role="status">Let go to open the recording</div>;
}

const has_files = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;

/** Listen until the returned function is called. */
function listen_to_drops(keep: Keep): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const over = (event: DragEvent): void => {
    if (!has_files(event)) return;
    event.preventDefault(); // else the browser would leave the page for the file
    keep.dragged_over.value = true;
  };
  window.addEventListener("dragenter", over, { signal });
  window.addEventListener("dragover", over, { signal });
  window.addEventListener("dragleave", (event) => event.relatedTarget === null && (keep.dragged_over.value = false), { signal });
  window.addEventListener("drop", (event) => {
    if (!has_files(event)) return;
    keep.dragged_over.value = false;
    if (event.defaultPrevented) return; // taken by the panel that it was let go on
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) void keep.open(file);
  }, { signal });
  return () => abort.abort();
}
