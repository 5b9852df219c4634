"""What the stream, the heads and their looks hold at a token: against plain Hugging Face, products multiplied out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tests.model.driving import masks_at
from tests.model.families import D_VOCAB, FAMILIES, N_HEADS, N_LAYERS
from tests.model.questions import answered, parts_of
from tests.model.reference import Edit, Full, Reference

from livelens.analysis.principal_axes import Moments
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment, LogitPair
from livelens.model.interventions import InterventionMasks
from livelens.model.kept_prefix import KeptPrefix
from livelens.model.lens_analyst import LensAnalyst
from livelens.model.operations import Added, Operation, Replacement, Scaled, Where
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    AttentionEntropyReady,
    Channel,
    HeadLensReady,
    LensAnswer,
    LensQuestion,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
    Tensor,
)
from livelens.protocol.tensors import reconstruct

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
EDITS = (Edit(start=3, stop=100, heads={(0, 1): 0.0}, attn={1: 0.5}, mlp={2: 0.25}),)
RUN = {"request_id": 3, "run_id": "r"}
PROMPT = "When Mary and John went to the store, John gave a drink to"


def tokens_of(family: str, n: int = 12) -> list[int]:
    return random.Random(family).sample(range(3, D_VOCAB), n)


def context_of(engine: TorchEngine, ids: Sequence[int], edits: Sequence[Edit] = ()) -> AnalysisContext:
    """A run of `ids` of which all but the last was computed, under `edits`."""
    starts = sorted({0, *(at for edit in edits for at in (edit.start, edit.stop) if at < len(ids))})
    segments = tuple(
        ContextSegment(from_pos=start, revision=i, masks=masks_at(edits, start, engine.info))
        for i, start in enumerate(starts)
    )
    return AnalysisContext(token_ids=tuple(ids), n_prompt=2, n_positions=len(ids) - 1, segments=segments)


def ask(engine: TorchEngine, question: LensQuestion, context: AnalysisContext) -> LensAnswer:
    _, answer = answered(LensAnalyst(parts_of(engine)).answer(question, context))
    assert engine.hooks_left() == 0
    return answer


def array(tensor: Tensor) -> np.ndarray:
    return reconstruct(tensor)


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    assert float(np.abs(ours - theirs).max()) <= tolerance * max(1.0, float(np.abs(theirs).max()))


# ---------------------------------------------------------------------- the lens in words


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


# ---------------------------------------------------------------------- what one head writes


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


# ---------------------------------------------------------------------- the stream's paths


def streams_of(full: Full, n: int) -> np.ndarray:
    """[n_positions, n_layers+1, d_model]"""
    return torch.stack([stream[:n] for stream in full.resid], 1).double().numpy()


def by_svd(points: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of `points` along the axes of `kept`, signs free, and the shares explained."""
    flat = kept.reshape(-1, kept.shape[-1])
    mean = flat.mean(0)
    _, sizes, rows = np.linalg.svd(flat - mean, full_matrices=False)
    return (points - mean) @ rows[:3].T, (sizes**2 / (sizes**2).sum())[:3]


def assert_paths(answer: StreamPcaReady, points: np.ndarray, kept: np.ndarray, tolerance: float = 1e-3) -> None:
    theirs, shares = by_svd(points, kept)
    ours = array(answer.coordinates).astype(np.float64)
    assert ours.shape == (*points.shape[:2], 3)
    ours *= np.sign((ours * theirs).sum((0, 1)))  # an axis has no direction
    close(ours, theirs, tolerance)
    np.testing.assert_allclose(array(answer.explained), shares, atol=1e-4)


def rms_scaled(points: np.ndarray, *, is_centred: bool, eps: float) -> np.ndarray:
    centred = points - points.mean(-1, keepdims=True) if is_centred else points
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_streams_paths_are_those_of_a_singular_value_decomposition(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    points = streams_of(reference.run(ids, EDITS), len(ids) - 1)
    context = context_of(engine, ids, EDITS)
    norm = parts_of(engine).weights.final_norm
    plain = ask(engine, RequestStreamPca(**RUN, scaling="none"), context)
    assert isinstance(plain, StreamPcaReady)
    assert_paths(plain, points, points)
    scaled = rms_scaled(points, is_centred=norm.is_centred, eps=norm.eps)
    skipping = ask(engine, RequestStreamPca(**RUN, skip_first=2), context)
    assert isinstance(skipping, StreamPcaReady)
    assert_paths(skipping, scaled, scaled[2:])
    assert [len(words) for words in (*skipping.promoted, *skipping.suppressed)] == [5] * 6


def test_the_shipped_models_paths_are_those_of_its_hidden_states(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    points = streams_of(shipped_reference.run(ids), len(ids))
    with torch.no_grad():
        hidden = shipped_reference.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(points[:, :-1], torch.cat(hidden[:-1]).transpose(0, 1).numpy(), atol=1e-3)
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=len(ids), n_positions=len(ids), segments=())
    answer = ask(shipped, RequestStreamPca(**RUN, skip_first=1), context)
    assert isinstance(answer, StreamPcaReady)
    scaled = rms_scaled(points, is_centred=False, eps=shipped_reference.final_norm.variance_epsilon)
    assert_paths(answer, scaled, scaled[1:])


def test_axes_leave_nothing_over_where_points_span_fewer_dimensions() -> None:
    moments = Moments(5, device=torch.device("cpu"))
    moments.add(torch.tensor([[1.0, 0, 0, 0, 0], [-3.0, 0, 0, 0, 0]]))
    axes = moments.axes(3)
    assert axes.explained.tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert axes.axes[0].tolist() == pytest.approx([1.0, 0, 0, 0, 0])
    assert axes.coordinates(torch.tensor([[-1.0, 0, 0, 0, 0]]))[0].tolist() == pytest.approx([0.0, 0, 0])
    with pytest.raises(ValueError, match="no points"):
        Moments(5, device=torch.device("cpu")).axes(3)


def test_axes_of_equal_points_explain_nothing() -> None:
    moments = Moments(4, device=torch.device("cpu"))
    moments.add(torch.zeros(3, 4))
    assert moments.axes(3).explained.tolist() == [0.0, 0.0, 0.0]


def test_paths_need_something_to_make_axes_of(tiny: Tiny) -> None:
    engine, ids = tiny("llama"), tokens_of("llama")
    with pytest.raises(AnalysisRefusedError, match="cannot leave out 11 positions: the run has 11"):
        ask(engine, RequestStreamPca(**RUN, skip_first=11), context_of(engine, ids))


# ---------------------------------------------------------------------- how widely heads look


def assert_entropy(answer: AttentionEntropyReady, full: Full, pos: int) -> None:
    rows = torch.stack([pattern[:, pos, : pos + 1] for pattern in full.pattern]).double()
    close(array(answer.entropy), torch.special.entr(rows).sum(-1).numpy(), 1e-3)
    weights = array(answer.top_weight)
    close(weights, rows.amax(-1).numpy())
    there = rows.gather(-1, torch.from_numpy(array(answer.top_key)).long()[..., None])[..., 0]
    close(weights, there.numpy())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_is_that_of_each_heads_row(tiny: Tiny, tiny_reference: TinyReference, family: str) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    full = reference.run(ids, EDITS)
    for pos in (0, 5, 10):
        answer = ask(engine, RequestAttentionEntropy(**RUN, pos=pos), context_of(engine, ids, EDITS))
        assert isinstance(answer, AttentionEntropyReady)
        assert array(answer.entropy).shape == (N_LAYERS, N_HEADS)
        assert_entropy(answer, full, pos)


def test_the_shipped_models_entropy_is_that_of_output_attentions(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=len(ids), n_positions=len(ids), segments=())
    answer = ask(shipped, RequestAttentionEntropy(**RUN, pos=len(ids) - 1), context)
    assert isinstance(answer, AttentionEntropyReady)
    assert_entropy(answer, shipped_reference.run(ids), len(ids) - 1)


# ---------------------------------------------------------------------- what is kept between questions


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
