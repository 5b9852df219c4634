// Saving the shown graph, and opening one.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { add_notice } from "../../store/store";
import { Menu, MenuFile } from "../menu";
import { use_page, type Page } from "../page";
import { graph_text } from "./graph_file";
import { open_file } from "./opened_bar";
import { png_blob, save_file, svg_text } from "./picture_file";

export function GraphMenu(): JSX.Element {
  const page = use_page();
  const with_text = useSignal(false);
  const has_graph = page.store.analysis.walk.graph.value !== null && !page.state.why.opened.value;
  return (
    <Menu label="Graph file" class="why-menu">
      {(then) => (
        <div role="group" aria-label="Graph file">
          <button type="button" disabled={!has_graph} onClick={then(() => save_json(page, with_text.peek()))}>Save as JSON</button>
          <label class="check"><input type="checkbox" checked={with_text.value}
            onChange={(event) => (with_text.value = event.currentTarget.checked)} />with the whole text</label>
          <button type="button" onClick={then(() => save_picture(page, "svg"))}>Save as SVG</button>
          <button type="button" onClick={then(() => save_picture(page, "png"))}>Save as PNG</button>
          <MenuFile label="Open JSON…" accept="application/json,.json" on_file={(file) => then(() => open_file(page, file))()} />
        </div>
      )}
    </Menu>
  );
}

function save_json(page: Page, with_text: boolean): void {
  const { store } = page;
  const [graph, info] = [store.analysis.walk.graph.peek(), store.model_info.peek()];
  if (!graph || !info) return;
  const threshold = store.analysis.walk.threshold.peek();
  const text = graph_text({ info, graph, tokens: store.tokens.peek(), threshold, with_text });
  save_file(text, "livelens-graph.json", "application/json");
}

/** The drawing must stand on the page to be saved: it is brought there first. */
async function save_picture(page: Page, kind: "svg" | "png"): Promise<void> {
  page.state.why.view.value = "graph";
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  const drawing = document.querySelector<SVGSVGElement>("#why-graph");
  if (!drawing) {
    add_notice(page.store, "fault", "There is no graph yet: press “Strongest paths”, or walk from node to node.");
    return;
  }
  try {
    const svg = svg_text(drawing);
    if (kind === "svg") save_file(svg, "livelens-graph.svg", "image/svg+xml");
    else save_file(await png_blob(svg), "livelens-graph.png", "image/png");
  } catch (error) {
    add_notice(page.store, "fault", error instanceof Error ? error.message : String(error));
  }
}
