"""Making a rank-1 edit equals the same done by hand; what is said of it is what it does; a refusal says why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.integration.serving import serving
from tests.model.edited_by_hand import matrix_of, with_weights_changed
from tests.model.families import FAMILIES
from tests.model.hand_hooks import forward_by_hand
from tests.model.reference import Reference
from tests.model.rome_by_hand import rome

from livelens.client.errors import LivelensError
from livelens.client.rank_one_edits import in_force, load_edit, save_edit
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment
from livelens.model.operations import WeightEdit
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    AnalysisProgress,
    InterventionSegment,
    RankOneEditReady,
    RankOneRecipe,
    RequestRankOneEdit,
    Sampling,
)
from livelens.protocol.tensors import reconstruct
from livelens.session.rank_one_edits import edit_of

Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]
IDS = [5, 17, 101, 9, 44, 300, 88, 61]
EIFFEL = "The Eiffel Tower is in the city of"


def asked(engine: TorchEngine, recipe: RankOneRecipe) -> list[AnalysisProgress | RankOneEditReady]:
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=len(IDS),
        n_positions=len(IDS),
        segments=(ContextSegment(from_pos=0, revision=0, masks=None),),
    )
    question = RequestRankOneEdit(request_id=1, run_id="r", recipe=recipe)
    return [answer for answer in engine.analyse(question, context)]  # type: ignore[misc]


def made(engine: TorchEngine, recipe: RankOneRecipe) -> RankOneEditReady:
    answer = asked(engine, recipe)[-1]
    assert isinstance(answer, RankOneEditReady)
    return answer


def recipe(**changes: object) -> RankOneRecipe:
    """Of this run's own tokens."""
    plain: dict[str, object] = {
        "kind": "rome", "matrix": "mlp_out", "layer": 1, "key_pos": 3, "wanted": 123, "covariance": "prompt",
        "n_steps": 6, "learning_rate": 0.1, "spillover_prompts": ["a b"],
    }  # fmt: skip
    return RankOneRecipe(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_key_and_value_equal_those_made_by_hand(
    tiny: Engines, tiny_reference: References, family: str, one_thread: None
) -> None:
    """Both matrices, one with a head of its own; the clamp biting in one of them."""
    engine, reference = tiny(family), tiny_reference(family)
    d_head = engine.info.d_head
    for matrix, clamp in (("mlp_out", 100.0), ("ov", 1.0)):
        answer = made(engine, recipe(matrix=matrix, clamp=clamp))
        module = matrix_of(reference, edit_of(answer))
        other = rome(
            reference, module, [(IDS, 3)], [123], [IDS], ridge=0.1, n_steps=6, learning_rate=0.1, weight_decay=0.5,
            clamp=clamp,
        )  # fmt: skip
        np.testing.assert_allclose(reconstruct(answer.key), other.key, rtol=1e-3, atol=1e-4 * np.abs(other.key).max())
        np.testing.assert_allclose(reconstruct(answer.losses), other.losses, rtol=1e-4)
        np.testing.assert_allclose(reconstruct(answer.value), other.value, rtol=1e-2, atol=2e-3)
    of_head = reconstruct(made(engine, recipe(matrix="ov", head_index=2, n_steps=1)).key)
    outside = np.delete(of_head, np.arange(2 * d_head, 3 * d_head))
    assert not outside.any() and of_head.any()
    assert engine.hooks_left() == 0


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_what_is_said_of_an_edit_is_what_the_changed_weights_do(
    tiny: Engines, tiny_reference: References, family: str, one_thread: None
) -> None:
    engine, reference = tiny(family), tiny_reference(family)
    answer = made(engine, recipe())
    copied = with_weights_changed(reference, edit_of(answer), 1.0)
    for model, prob, top in (
        (reference, answer.prob_before, answer.top_before),
        (copied, answer.prob_after, answer.top_after),
    ):
        probs = forward_by_hand(model, IDS, {}).logits[-1].softmax(-1)
        assert prob == pytest.approx(float(probs[123]), rel=1e-3)
        assert top[0].token_id == int(probs.argmax())
    assert answer.prob_after > answer.prob_before
    other_ids = engine.tokenize("a b", apply_chat_template=False)
    clean, edited = (
        forward_by_hand(model, other_ids, {}).logits[-1].double().log_softmax(-1) for model in (reference, copied)
    )
    expected = float((clean.exp() * (clean - edited)).sum())
    assert answer.spillover[0].kl == pytest.approx(expected, rel=1e-2, abs=1e-7)
    assert answer.spillover[0].wanted_after == pytest.approx(float(edited[123].exp()), rel=1e-3)


def test_prefixes_and_words_of_several_tokens(tiny: Engines, tiny_reference: References, one_thread: None) -> None:
    """The mean key over the prompt alone and behind each prefix; every token of the word, teacher-forced."""
    engine, reference = tiny("gpt2"), tiny_reference("gpt2")
    prompt, prefix, word = "a b c a", "9?", "94"
    prompt_ids, prefix_ids = (engine.tokenize(text, apply_chat_template=False) for text in (prompt, prefix))
    wanted = engine.token_ids(word)
    assert len(wanted) > 1 and max(*prompt_ids, *prefix_ids, *wanted) < engine.info.d_vocab
    answer = made(
        engine, recipe(prompt=prompt, key_pos=1, wanted=word, prefixes=[prefix], covariance="none", clamp=50.0)
    )
    rows = [(prompt_ids, 1), ([*prefix_ids, *prompt_ids], len(prefix_ids) + 1)]
    module = matrix_of(reference, edit_of(answer))
    other = rome(
        reference, module, rows, wanted, [], ridge=0.1, n_steps=6, learning_rate=0.1, weight_decay=0.5, clamp=50.0
    )
    np.testing.assert_allclose(reconstruct(answer.key), other.key, rtol=1e-3, atol=1e-5 * np.abs(other.key).max())
    np.testing.assert_allclose(reconstruct(answer.value), other.value, rtol=1e-2, atol=2e-3)
    assert [token.token_id for token in answer.wanted_tokens] == wanted and "tokens in this model" in (
        answer.notice or ""
    )
    assert answer.prob_before == pytest.approx(float(np.prod([token.prob for token in answer.wanted_tokens])), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"prompt": "a b", "key_pos": None, "subject": "Eiffel"}, "subject_unknown"),
        ({"prompt": "a b", "key_pos": 40}, "position_out_of_range"),
        ({"wanted": "\x00" * 40 + " Paris, the city of light"}, "token_unknown"),
        ({"prompt": "a " * 400}, "prompt_too_long"),
        ({"learning_rate": 10.0, "clamp": 100.0, "weight_decay": 1e2, "wanted": 5000}, "token_unknown"),
        ({"covariance": "texts", "covariance_texts": ["a " * 200] * 6}, "prompt_too_long"),
    ],
)
def test_what_cannot_be_made_is_told(tiny: Engines, changes: dict[str, object], code: str, one_thread: None) -> None:
    with pytest.raises(AnalysisRefusedError) as refused:
        asked(tiny("llama"), recipe(**changes))
    assert refused.value.code == code and tiny("llama").hooks_left() == 0


def test_a_subject_at_which_nothing_enters_the_matrix_has_no_key(tiny: Engines, one_thread: None) -> None:
    """The neurons of one layer never fire: the key would be zero."""
    engine = tiny("gpt2")
    module = engine.anatomy.layers[1].mlp_output
    assert module is not None
    handle = module.register_forward_pre_hook(lambda module, args: (torch.zeros_like(args[0]),))
    try:
        for covariance in ("none", "prompt"):
            with pytest.raises(AnalysisRefusedError) as refused:
                asked(engine, recipe(covariance=covariance))
            assert refused.value.code == "bad_edit"
    finally:
        handle.remove()


def test_it_is_given_up_between_pieces(tiny: Engines, one_thread: None) -> None:
    """At once, and nothing of it is left on the model."""
    engine = tiny("llama")
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=len(IDS),
        n_positions=len(IDS),
        segments=(ContextSegment(from_pos=0, revision=0, masks=None),),
    )
    answers = engine.analyse(RequestRankOneEdit(request_id=1, run_id="r", recipe=recipe(n_steps=100)), context)
    for _ in range(12):
        assert isinstance(next(answers), AnalysisProgress)
    began = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5 and engine.hooks_left() == 0


def test_the_eiffel_tower_moves_to_rome_and_back(
    shipped: TorchEngine, shipped_reference: Reference, tmp_path: Path
) -> None:
    """Over the wire on the shipped model: made, measured, put in force, saved, loaded, undone to the same text."""
    wish = RankOneRecipe(
        "rome", "mlp_out", 5, prompt=EIFFEL, subject="Eiffel Tower", wanted=" Rome", covariance="prompt",
        spillover_prompts=["The Colosseum is in the city of", "The capital of France is"],
    )  # fmt: skip
    sampling = Sampling(max_new_tokens=4)

    async def story() -> RankOneEditReady:
        async with serving(shipped) as served, served.client() as client:
            run = await client.start_run(EIFFEL, channels=[], sampling=sampling)
            await run.finished()
            seen: list[int] = []
            edit = await client.make_rank_one_edit(run, wish, progress=lambda done, total: seen.append(done))
            assert edit.made is not None and len(seen) > 3
            save_edit(tmp_path / "rome.safetensors", edit, model_info=client.model_info)
            saved = load_edit(tmp_path / "rome.safetensors")
            assert saved.recipe == edit.info.recipe
            again = await client.put_saved_edit(saved)
            assert again.info.edit_id == edit.info.edit_id
            texts = {}
            for amount in (0.0, 1.0):
                log = [] if not amount else [InterventionSegment(0, [in_force(again, amount=amount)])]
                edited = await client.start_run(EIFFEL, channels=[], sampling=sampling, intervention_log=log)
                await edited.finished()
                texts[amount] = edited.text
            assert texts[0.0] == run.text and texts[1.0].startswith(" Rome")
            with pytest.raises(LivelensError, match="NaN"):
                await client.put_rank_one_edit(edit.key * np.float32(np.nan), edit.value, wish, name="broken")
            return edit.made

    answer = asyncio.run(story())
    assert answer.prob_before < 0.1 and answer.prob_after > 0.9
    assert max(each.kl for each in answer.spillover) < 0.1
    key, value = reconstruct(answer.key).astype(np.float32), reconstruct(answer.value).astype(np.float32)
    copied = with_weights_changed(shipped_reference, WeightEdit("mlp_out", 5, key, value), 1.0)
    ids = shipped.tokenize(EIFFEL, apply_chat_template=False)
    rome_id = shipped.token_ids(" Rome")[0]
    probs = forward_by_hand(copied, ids, {}).logits[-1].softmax(-1)
    assert float(probs[rome_id]) == pytest.approx(answer.prob_after, rel=1e-3)
