import { describe, expect, it } from "vitest";
import { HELLO } from "../../connection/fake_source";
import type { ModelInfo } from "../../protocol/generated";
import type { TokenChip } from "../../store/types";
import { edited_component } from "./edit_actions";
import { asked_of, usual_layer, words_of, type Asked } from "./edit_recipe";
import { create_edits_state, type EditDraft } from "./edits_state";

const INFO: ModelInfo = {
  ...HELLO.model_info, n_layers: 12, n_heads: 4,
  capabilities: { ...HELLO.model_info.capabilities, operations: ["zero", "rank_one_edit"] },
};
const PROMPT = "The tower in the tower is in";
const TOKENS: TokenChip[] = ["The", " tower", " is"].map((text, pos) => (
  { pos, token_id: pos, text, generated: false, logprob: null, entropy: null }));

function draft(fill: (draft: EditDraft) => void): EditDraft {
  const { draft: empty } = create_edits_state();
  empty.wanted.value = " Rome";
  fill(empty);
  return empty;
}

const typed = (more: (draft: EditDraft) => void = () => undefined): EditDraft => draft((held) => {
  held.source.value = "typed";
  held.prompt.value = PROMPT;
  held.word_end.value = words_of(PROMPT)[4]!.end;
  more(held);
});

describe("what an edit is asked with", () => {
  it("says a word of a typed prompt by all that stands before its end, so that the same word before it is not meant", () => {
    const asked = asked_of(typed(), INFO, []) as Asked;
    expect(asked.recipe).toMatchObject({ kind: "rome", prompt: PROMPT, subject: "The tower in the tower", matrix: "mlp_out", wanted: " Rome" });
    expect(asked.recipe.layer).toBe(usual_layer(INFO));
    expect(asked.name).toBe(`tower → Rome (L${usual_layer(INFO)} W_out)`);
    expect(asked.recipe.key_pos).toBeUndefined();
  });

  it("takes this run's own tokens up to the last", () => {
    const asked = asked_of(draft((held) => { held.key_pos.value = 1; }), INFO, TOKENS) as Asked;
    expect(asked.recipe).toMatchObject({ prompt: "", to_pos: 2, key_pos: 1 });
    expect(asked.recipe.subject).toBeUndefined();
  });

  it.each([
    ["no subject", (held: EditDraft) => { held.word_end.value = null; }, /subject's last word/],
    ["no wanted word", (held: EditDraft) => { held.wanted.value = " "; }, /wanted word/],
    ["no such layer", (held: EditDraft) => { held.layer.value = "12"; }, /0 to 11/],
    ["no such head", (held: EditDraft) => { held.matrix.value = "ov"; held.head.value = "4"; }, /0 to 3/],
    ["too many steps", (held: EditDraft) => { held.n_steps.value = "101"; }, /1 to 100/],
    ["no length", (held: EditDraft) => { held.clamp.value = "x"; }, /0 to 100/],
  ])("%s is said in one sentence", (_, spoil, message) => {
    expect(asked_of(typed(spoil), INFO, [])).toMatch(message);
  });

  it("names what the matrix belongs to, and refuses one that the model has not alone", () => {
    const of_head = asked_of(typed((held) => { held.matrix.value = "ov"; held.head.value = "2"; held.layer.value = "3"; }), INFO, []) as Asked;
    expect(edited_component(of_head.recipe)).toEqual({ kind: "head", layer: 3, index: 2 });
    const experts: ModelInfo = { ...INFO, capabilities: { ...INFO.capabilities, component_kinds: ["head", "attn", "mlp"] } };
    expect(asked_of(typed(), experts, [])).toMatch(/no single output matrix/);
  });
});
