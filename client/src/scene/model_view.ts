// Everything that is built once for a model and thrown away with it: the shown sheet, earlier ones, the spine.
import type { Object3D, Scene } from "three";
import { build_blocks, shown_span, type Blocks, type ModelShape } from "../layout/blocks";
import type { ColourMap } from "../layout/colour";
import { encode_sources, encode_step } from "../layout/encode";
import { pack_cells } from "../layout/texels";
import { MAX_PAST_SHEETS, z_of_age } from "../layout/time_axis";
import type { History } from "../store/history";
import type { LayerRange } from "../store/layer_range";
import type { DisplayChannel, StepRecord } from "../store/types";
import { PastSheets } from "./past_sheets";
import { ShownSheet } from "./shown_sheet";
import { Spine } from "./spine";
import type { SceneTheme } from "./theme";

/** Of a difference, by position of its array: how far the two runs are apart, whichever has more. */
const DISTANCES = new WeakMap<Float32Array, Float32Array>();

/** What makes the stream's nodes bigger, float32 [n_layers+1]; the same array as long as the step has. */
function stream_sizes(step: StepRecord | undefined): Float32Array | null {
  const residual = step?.tensors.residual?.values;
  if (!(residual instanceof Float32Array)) return null;
  if (step?.compared !== "difference") return residual;
  let distances = DISTANCES.get(residual);
  if (!distances) {
    const sizes = residual.map(Math.abs);
    const floor = 0.03 * Math.max(...sizes); // sizes are told apart on a log scale, on which none at all is far away
    DISTANCES.set(residual, (distances = sizes.map((size) => size + floor)));
  }
  return distances;
}

export class ModelView {
  readonly blocks: Blocks;
  readonly sheet: ShownSheet;
  readonly past: PastSheets;
  readonly spine: Spine;
  /** The layers that are drawn and can be picked; null: all. */
  layer_range: LayerRange | null = null;
  private readonly scratch: Int8Array;
  private readonly objects: Object3D[];
  private shown_sources: readonly unknown[] = [];
  private past_positions: number[] = [];

  constructor(
    shape: ModelShape,
    private readonly scene: Scene,
  ) {
    this.blocks = build_blocks(shape);
    this.sheet = new ShownSheet(this.blocks, pack_cells(shape.n_layers, shape.d_mlp));
    this.past = new PastSheets(this.blocks);
    this.spine = new Spine(this.blocks);
    this.scratch = new Int8Array(shape.n_layers * shape.d_mlp);
    this.objects = [...this.sheet.meshes, this.past.mesh, ...this.spine.meshes];
    scene.add(...this.objects);
  }

  /**
   * Bring up what changed; `more` is left for the next frame where the budget of this one is spent. `explained`: a step
   * as it is to be shown.
   */
  bring_up(
    history: History,
    current_pos: number,
    channel: DisplayChannel,
    theme: SceneTheme,
    explained: (step: StepRecord | undefined) => StepRecord | undefined,
  ): { wrote: boolean; more: boolean } {
    const sources_of = (step: StepRecord): readonly unknown[] => [channel, ...encode_sources(step, channel)];
    const step = explained(history.get(current_pos));
    const sources = step ? sources_of(step) : [];
    const wrote = sources.length !== this.shown_sources.length || sources.some((source, i) => source !== this.shown_sources[i]);
    if (wrote) {
      this.shown_sources = sources;
      if (step) this.sheet.write(encode_step(step, channel, this.blocks, this.scratch));
      this.sheet.set_visible(step !== undefined);
    }
    const past: StepRecord[] = [];
    for (let pos = current_pos - 1; pos >= Math.max(0, current_pos - MAX_PAST_SHEETS); pos--) {
      const earlier = explained(history.get(pos));
      if (earlier) past.push(earlier);
    }
    this.past_positions = past.map((earlier) => earlier.pos);
    // The shown token first; earlier ones in the frames after it.
    const more = wrote && past.length > 0 ? true : this.past.advance(past, channel, sources_of);
    const residual = stream_sizes(step);
    const past_z = this.past_positions.map((pos) => z_of_age(current_pos - pos));
    this.spine.update(theme, residual, past_z);
    return { wrote, more };
  }

  /** Where earlier sheets stand now, and how strongly they are shown. */
  place(current_pos: number, past_strength: number): void {
    this.past.place(this.past_positions, current_pos, past_strength);
    this.spine.show_past(past_strength > 0.3);
  }

  set_layer_range(range: LayerRange | null): void {
    this.layer_range = range;
    const span = shown_span(this.blocks, range);
    this.sheet.set_span(span);
    this.past.set_span(span);
    this.spine.set_layer_range(range);
  }

  set_colours(theme: SceneTheme, map: ColourMap): void {
    this.sheet.set_colours(theme, map);
    this.past.set_colours(map);
  }

  set_viewport(width: number, height: number): void {
    this.past.set_viewport(width, height);
    this.spine.set_viewport(width, height);
  }

  /** Steps were dropped: nothing that is shown may be taken for theirs. */
  forget(): void {
    this.past.clear();
    this.shown_sources = [null];
  }

  restore(): void {
    this.sheet.restore();
  }

  dispose(): void {
    this.scene.remove(...this.objects);
    this.sheet.dispose();
    this.past.dispose();
    this.spine.dispose();
  }
}
