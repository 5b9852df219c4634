// Everything that is built once for a model and thrown away with it: sheets, spine, and which token lies where.
import type { Scene } from "three";
import { build_blocks, type Blocks, type ModelShape } from "../layout/blocks";
import type { ColourMap } from "../layout/colour";
import { encode_sources, encode_step } from "../layout/encode";
import { pack_cells, slice_count, type Packing } from "../layout/texels";
import { fade_of_age, MAX_PAST_SHEETS, z_of_age } from "../layout/time_axis";
import type { History } from "../store/history";
import type { DisplayChannel } from "../store/types";
import { Sheets, type SheetPlace } from "./sheets";
import { SlotTable } from "./slot_table";
import { Spine } from "./spine";
import type { SceneTheme } from "./theme";

/** Slices of older tokens brought up in one frame, so that walking back far costs no long frame. */
const PAST_WRITES_PER_FRAME = 2;

export class ModelView {
  readonly blocks: Blocks;
  readonly packing: Packing;
  readonly sheets: Sheets;
  readonly spine: Spine;
  readonly slots: SlotTable;
  private readonly scratch: Int8Array;

  constructor(
    shape: ModelShape,
    private readonly scene: Scene,
  ) {
    this.blocks = build_blocks(shape);
    this.packing = pack_cells(shape.n_layers, shape.d_mlp);
    this.slots = new SlotTable(slice_count(this.packing, MAX_PAST_SHEETS + 2));
    this.sheets = new Sheets(this.blocks, this.packing, this.slots.size);
    this.spine = new Spine(this.blocks);
    this.scratch = new Int8Array(shape.n_layers * shape.d_mlp);
    scene.add(...this.sheets.meshes, ...this.spine.meshes);
  }

  /** Positions whose sheets are shown, the current one first. */
  shown_positions(history: History, current_pos: number): number[] {
    const positions: number[] = [];
    const oldest = Math.max(0, current_pos - Math.min(MAX_PAST_SHEETS, this.slots.size - 2));
    for (let pos = current_pos; pos >= oldest; pos--) if (history.get(pos)) positions.push(pos);
    return positions;
  }

  /** Bring up what changed; true when more is left for the next frame. */
  write_changed(history: History, positions: readonly number[], channel: DisplayChannel): { wrote: boolean; more: boolean } {
    const shown = new Set(positions);
    let [wrote, past_left, more] = [false, PAST_WRITES_PER_FRAME, false];
    positions.forEach((pos, i) => {
      const step = history.get(pos)!;
      const sources = [channel, ...encode_sources(step, channel)];
      if (this.slots.holds(pos, sources)) return;
      if (i > 0 && past_left-- <= 0) {
        more = true;
        return;
      }
      const slot = this.slots.claim(pos, sources, shown);
      if (slot === null) return;
      this.sheets.write(slot, encode_step(step, channel, this.blocks, this.scratch));
      wrote = true;
    });
    return { wrote, more };
  }

  /** Which sheets to draw: at most `max_past` earlier ones, fainter by `past_strength`, in drawing order. */
  place(positions: readonly number[], current_pos: number, in_front: boolean, past_strength: number, max_past: number): void {
    let now: SheetPlace | null = null;
    const past: SheetPlace[] = [];
    for (const pos of positions) {
      const slot = this.slots.get(pos);
      const age = current_pos - pos;
      if (!slot || age > max_past) continue;
      const fade = fade_of_age(age) * past_strength;
      if (age === 0) now = { slot: slot.slot, z: 0, fade: 1 };
      else if (fade > 0.01) past.push({ slot: slot.slot, z: z_of_age(age), fade });
    }
    this.sheets.place(now, in_front ? past.reverse() : past);
  }

  set_colours(theme: SceneTheme, map: ColourMap): void {
    this.sheets.set_colours(theme, map);
  }

  dispose(): void {
    this.scene.remove(...this.sheets.meshes, ...this.spine.meshes);
    this.sheets.dispose();
    this.spine.dispose();
  }
}
