// A graph from a file in the picture: where the loaded model has the same shape; else why not.
import { effect } from "@preact/signals";
import type { ModelInfo } from "../../protocol/generated";
import { file_graph, last_pos } from "../../store/drawn_text";
import type { Page } from "../page";
import type { ModelShape, OpenedGraph } from "./graph_file";

const shape_words = ({ n_layers, n_heads, d_mlp }: ModelShape): string =>
  `${n_layers} layers of ${n_heads} heads and ${d_mlp} neurons`;

/** Why the graph is shown flat only; none where it can be drawn in the model's picture. */
export function why_flat(opened: OpenedGraph, info: ModelInfo | null): string | null {
  if (!info) return "No model is loaded, so it is shown flat only.";
  // A file that names token a billion would have the picture hold as many.
  if (last_pos(opened.graph) >= info.n_ctx) return "It names tokens that this model has no room for, so it is shown flat only.";
  if (opened.weights_sha256 === info.weights_sha256) return null;
  const { shape } = opened;
  if (!shape) return "Its file does not say the shape of its model, and it is not of this one, so it is shown flat only.";
  const is_same = shape.n_layers === info.n_layers && shape.n_heads === info.n_heads && shape.d_mlp === info.d_mlp;
  return is_same ? null
    : `It is of a model with ${shape_words(shape)}, this one has ${shape_words(info)}: it is shown flat only.`;
}

/** Keep the picture in line with the opened file until the returned function is called. */
export function draw_opened({ store, state }: Page): () => void {
  const { from_file } = store.analysis.walk;
  const end = effect(() => {
    const opened = state.why.opened.value;
    const is_drawn = opened !== null && why_flat(opened, store.model_info.value) === null;
    const texts = new Map(opened?.tokens.map(({ pos, text }) => [pos, text]));
    from_file.value = is_drawn ? file_graph(opened.graph, texts) : null;
  });
  return () => {
    end();
    from_file.value = null;
  };
}
