"""What the stream and the heads hold at a token: against plain Hugging Face, products multiplied out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.model.families import FAMILIES, N_HEADS, N_LAYERS
from tests.model.lens_asking import EDITS, PROMPT, RUN, Tiny, TinyReference, array, ask, close, context_of, tokens_of
from tests.model.questions import answered, parts_of
from tests.model.reference import Full, Reference

from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment, LogitPair
from livelens.model.interventions import InterventionMasks
from livelens.model.kept_prefix import KeptPrefix
from livelens.model.lens_analyst import LensAnalyst
from livelens.model.operations import Added, Operation, Replacement, Scaled, Where
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    Channel,
    HeadLensReady,
    LensReady,
    RequestHeadLens,
    RequestLens,
)


def assert_lens(answer: LensReady, logits: torch.Tensor, n_tokens: int, tolerance: float = 1e-4) -> None:
    """`answer` says what softmax(logits) [n_layers, d_vocab] says."""
    probs = logits.double().softmax(-1)
    best = probs.topk(n_tokens)
    for layer, top in enumerate(answer.top):
        np.testing.assert_allclose([t.prob for t in top], best.values[layer], rtol=5e-3, atol=tolerance)
        # Two tokens as likely as each other may change places: each is as likely as the one that belongs there.
        np.testing.assert_allclose(
            [float(probs[layer, t.token_id]) for t in top], best.values[layer], rtol=5e-3, atol=tolerance
        )
    close(array(answer.entropy), torch.special.entr(probs).sum(-1).numpy(), 1e-3)
    close(array(answer.logprob), probs[:, answer.target_id].log().numpy(), 1e-3)
    own = logits[:, [answer.target_id]]
    ours = array(answer.rank)
    assert ours.dtype == np.int32
    assert ((logits > own + 1e-3).sum(-1).numpy() <= ours).all()
    assert (ours <= (logits > own - 1e-3).sum(-1).numpy()).all()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_names_the_likeliest_tokens_of_every_layer(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    full = reference.run(ids, EDITS)
    for pos in (0, 2, 7, 10):
        answer = ask(engine, RequestLens(**RUN, pos=pos), context_of(engine, ids, EDITS))
        assert isinstance(answer, LensReady)
        assert answer.target_id == ids[pos + 1]
        assert [len(top) for top in answer.top] == [5] * N_LAYERS
        assert_lens(answer, reference.lens_logits(full, pos), 5)


def test_the_lens_of_the_shipped_model_is_that_of_hidden_states(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """output_hidden_states, the final norm and lm_head of the plain model; at the end of the text: the likeliest."""
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    model = shipped_reference.model
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
        streams = torch.stack(out.hidden_states[1:-1])[:, 0]  # the last one is after the final norm already
        normed = torch.cat([shipped_reference.final_norm(streams), out.hidden_states[-1]])
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=len(ids), n_positions=len(ids), segments=())
    for pos in (3, len(ids) - 1):
        answer = ask(shipped, RequestLens(**RUN, pos=pos, n_tokens=7), context)
        assert isinstance(answer, LensReady)
        with torch.no_grad():
            logits = model.lm_head(normed[:, pos])
        assert_lens(answer, logits, 7)
    assert answer.target_text == " Mary"
    assert answer.top[-1][0].prob == pytest.approx(0.92, abs=0.01)
    assert array(answer.rank)[-1] == 0


def logits_of_writes(reference: Reference, full: Full, pos: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads [n_layers, n_heads, d_vocab] and MLPs [n_layers, d_vocab], above the mean of all logits, edits apart."""
    end, writes = full.resid[-1][pos], reference.head_writes(full, pos)
    with torch.no_grad():
        if reference._post_attn:
            writes = torch.stack(
                [
                    reference._norm_linear(getattr(block, reference._post_attn), full.attn_raw[layer][pos], written)
                    for layer, (block, written) in enumerate(zip(reference.blocks, writes, strict=True))
                ]
            )
        mlps = torch.stack([out[pos] for out in full.mlp_out])
        both = []
        for rows in (writes, mlps):
            logits = reference._norm_linear(reference.final_norm, end, rows) @ reference.model.lm_head.weight.T
            both.append(logits - logits.mean(-1, keepdim=True))
    return both[0], both[1]


def assert_promoted(ids: np.ndarray, values: np.ndarray, ranks: np.ndarray, logits: torch.Tensor, target: int) -> None:
    n_tokens = ids.shape[-1]
    close(values, logits.topk(n_tokens).values.numpy())
    close(values, logits.gather(-1, torch.from_numpy(ids).long()).numpy())
    own, slack = logits[..., [target]], 1e-4 * float(logits.abs().max())
    assert ((logits > own + slack).sum(-1).numpy() <= ranks).all()
    assert (ranks <= (logits > own - slack).sum(-1).numpy()).all()


def assert_sums(answer: HeadLensReady) -> None:
    terms = [array(answer.direct_heads), array(answer.direct_mlps), array(answer.direct_bias)]
    total = sum(float(term.sum(dtype=np.float64)) for term in terms) + answer.embed + answer.final_bias
    assert total == pytest.approx(answer.total, rel=1e-3, abs=1e-4)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_of_a_head_is_its_write_unembedded_and_all_terms_sum_to_the_logit(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    full, pos, target = reference.run(ids, EDITS), 7, 17
    answer = ask(engine, RequestHeadLens(**RUN, pos=pos, target=target, n_tokens=4), context_of(engine, ids, EDITS))
    assert isinstance(answer, HeadLensReady)
    heads, mlps = logits_of_writes(reference, full, pos)
    heads[1] *= 0.5  # the whole layer's attention is halved
    assert array(answer.head_token_id).shape == (N_LAYERS, N_HEADS, 4)
    # The silenced head writes nothing: every token is as promoted as every other.
    assert np.abs(array(answer.head_value)[0, 1]).max() < 1e-6
    heads[0, 1] = -1.0
    ours = [array(part).copy() for part in (answer.head_token_id, answer.head_value, answer.head_rank)]
    ours[1][0, 1], ours[2][0, 1] = -1.0, 0
    assert_promoted(*ours, heads, target)
    assert_promoted(array(answer.mlp_token_id), array(answer.mlp_value), array(answer.mlp_rank), mlps, target)
    direct = array(answer.direct_heads)
    heads[0, 1] = 0.0
    close(direct, heads[..., target].numpy())
    close(array(answer.direct_mlps), mlps[:, target].numpy())
    assert answer.total == pytest.approx(reference.metric(full, pos, target, None), rel=1e-3, abs=1e-4)
    assert_sums(answer)
    named = {word.token_id for word in answer.words}
    assert named == {*array(answer.head_token_id).ravel().tolist(), *array(answer.mlp_token_id).ravel().tolist()}


def test_the_head_lens_of_the_shipped_model_names_who_says_mary(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    mary = shipped.token_ids(" Mary")[0]
    context = AnalysisContext(token_ids=(*ids, mary), n_prompt=len(ids), n_positions=len(ids), segments=())
    answer = ask(shipped, RequestHeadLens(**RUN, pos=len(ids) - 1), context)
    assert isinstance(answer, HeadLensReady)
    full = shipped_reference.run(ids)
    heads, mlps = logits_of_writes(shipped_reference, full, len(ids) - 1)
    assert_promoted(
        array(answer.head_token_id), array(answer.head_value), array(answer.head_rank), heads, answer.target_id
    )
    assert_promoted(array(answer.mlp_token_id), array(answer.mlp_value), array(answer.mlp_rank), mlps, mary)
    assert answer.target_text == " Mary"
    assert_sums(answer)
    assert answer.total == pytest.approx(shipped_reference.metric(full, len(ids) - 1, mary, None), rel=1e-4)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_lenses_of_a_run_with_other_operations_are_those_of_its_steps(tiny: Tiny, family: str) -> None:
    """A layer's attention replaced, a vector added to the stream, a head scaled at one token only."""
    engine, ids, pos = tiny(family), tokens_of(family), 6
    d_model, d_head = engine.info.d_model, engine.info.d_head
    vector = np.linspace(-1, 1, d_model, dtype=np.float32)
    factors = np.ones(N_HEADS * d_head, np.float32)
    factors[:d_head] = 3.0
    operations = (
        Operation(place=("attn_out", 1), where=Where(), change=Replacement(np.arange(d_model), vector, d_model)),
        Operation(place=("resid", 2), where=Where(), change=Added(vector, 2.0, "direction")),
        Operation(place=("z", 0), where=Where(token_ids=frozenset((ids[pos],))), change=Scaled(factors)),
        Operation(place=("z", 2), where=Where(start=pos + 1), change=Scaled(factors)),
    )
    masks = InterventionMasks(attn={2: 0.5}, operations=list(operations))
    segments = (
        ContextSegment(from_pos=0, revision=0, masks=None),
        ContextSegment(from_pos=4, revision=1, masks=masks),
    )
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=2, n_positions=len(ids) - 1, segments=segments)
    sequence = engine.open_sequence()
    channels: frozenset[Channel] = frozenset(("direct_logit", "logit_lens"))
    sequence.forward(ids[:4], masks=None, channels=frozenset())
    captured = sequence.forward(ids[4 : pos + 1], masks=masks, channels=channels)
    arrays = captured.arrays(pos - 4, channels=channels, chosen_id=17, pair=LogitPair(target_id=17))
    heads = ask(engine, RequestHeadLens(**RUN, pos=pos, target=17, n_tokens=16), context)
    lens = ask(engine, RequestLens(**RUN, pos=pos, target=17), context)
    assert isinstance(heads, HeadLensReady)
    assert isinstance(lens, LensReady)
    assert arrays.direct is not None and arrays.lens is not None
    close(array(heads.direct_heads), arrays.direct.heads)
    assert heads.total == pytest.approx(arrays.direct.total, rel=1e-4, abs=1e-4)
    assert_sums(heads)
    close(array(lens.logprob), arrays.lens.logprob, 1e-3)
    # What was put in the place of a layer's attention is no head's write.
    assert np.abs(array(heads.head_value)[1]).max() < 1e-6
    # A head's own row of logits says of the target what its direct contribution says.
    ids_of, values = array(heads.head_token_id), array(heads.head_value)
    for layer, head, place in np.argwhere(ids_of == 17):
        assert values[layer, head, place] == pytest.approx(arrays.direct.heads[layer, head], rel=1e-3, abs=1e-4)


def n_forward_calls(engine: TorchEngine, work: Callable[[], object]) -> int:
    calls = [0]

    def count(module: object, args: object, output: object) -> None:
        calls[0] += 1

    handle = engine.model.base_model.register_forward_hook(count)
    try:
        work()
    finally:
        handle.remove()
    return calls[0]


@pytest.mark.usefixtures("one_thread")
def test_another_token_of_the_same_run_costs_one_token(tiny: Tiny, tiny_reference: TinyReference) -> None:
    """And a run that took another way from some position on is computed from there."""
    engine, ids = tiny("llama"), tokens_of("llama")
    analyst = LensAnalyst(parts_of(engine))
    context = context_of(engine, ids, EDITS)

    def lens(pos: int, of: AnalysisContext) -> LensReady:
        _, answer = answered(analyst.answer(RequestLens(**RUN, pos=pos), of))
        assert isinstance(answer, LensReady)
        return answer

    assert n_forward_calls(engine, lambda: lens(10, context)) == 3  # two stretches of masks, and the token
    assert n_forward_calls(engine, lambda: lens(4, context)) == 1
    other = [*ids[:6], *tokens_of("other", 6)]
    elsewhere = context_of(engine, other, EDITS)
    assert n_forward_calls(engine, lambda: lens(10, elsewhere)) == 2
    full = tiny_reference("llama").run(other, EDITS)
    assert_lens(lens(10, elsewhere), tiny_reference("llama").lens_logits(full, 10), 5)
    unedited = context_of(engine, other)
    assert_lens(lens(9, unedited), tiny_reference("llama").lens_logits(tiny_reference("llama").run(other), 9), 5)


@pytest.mark.usefixtures("one_thread")
def test_a_given_up_question_leaves_what_is_kept_whole(tiny: Tiny, tiny_reference: TinyReference) -> None:
    engine, ids = tiny("gemma2"), tokens_of("gemma2")
    analyst = LensAnalyst(parts_of(engine))
    context = context_of(engine, ids, EDITS)
    pieces = analyst.answer(RequestLens(**RUN, pos=9), context)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    _, answer = answered(analyst.answer(RequestLens(**RUN, pos=9), context))
    assert isinstance(answer, LensReady)
    reference = tiny_reference("gemma2")
    assert_lens(answer, reference.lens_logits(reference.run(ids, EDITS), 9), 5)
    analyst.drop()
    assert isinstance(analyst._prefix, KeptPrefix)
    assert analyst._prefix._cache is None


def test_a_token_that_does_not_exist_is_refused(tiny: Tiny) -> None:
    engine, ids = tiny("llama"), tokens_of("llama")
    for question in (RequestLens(**RUN, pos=3, target=10**6), RequestHeadLens(**RUN, pos=3, target=10**6)):
        with pytest.raises(AnalysisRefusedError, match="not in the vocabulary"):
            ask(engine, question, context_of(engine, ids))
