"""Activation patching: every cell equals a plain Hugging Face forward of the other prompt with one place replaced."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests.model.families import D_VOCAB, FAMILIES
from tests.model.questions import answered, metric_of, parts_of, segments_of
from tests.model.reference import Edit, Full, Reference

from livelens.analysis.progress import Work
from livelens.model.caches import prefix_cache
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment, EngineError
from livelens.model.patched_rows import Patch, PatchSite, run_patched
from livelens.model.patching import Patching, TwoRuns, plan_patches, spread
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Metric, MetricQuestion, PatchingReady, RequestPatching
from livelens.protocol.tensors import reconstruct

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"
EDITS = (
    Edit(start=0, stop=6, heads={(0, 1): 0.0}),
    Edit(start=6, stop=100, heads={(1, 2): 0.5}, neurons={(0, 3): 0.0}, mlp={2: 1.5}, attn={1: 0.5}),
)
FIRST, N = 4, 10


def two_runs(family: str) -> TwoRuns:
    """Ten tokens; two of them, 4 and 7, are others in the corrupted run."""
    clean = random.Random(family).sample(range(3, D_VOCAB), N)
    corrupted = [*clean]
    corrupted[FIRST], corrupted[7] = 11, 12
    return TwoRuns(clean_ids=clean, corrupted_ids=corrupted, first=FIRST)


def patching_of(
    engine: TorchEngine, reference: Reference, runs: TwoRuns, edits: Sequence[Edit], *, distractor_id: int | None = 6
) -> tuple[Patching, Full, Full]:
    """The question's two runs, computed; and the reference's."""
    clean, corrupted = reference.run(runs.clean_ids, edits), reference.run(runs.corrupted_ids, edits)
    metric = metric_of(reference, clean, N - 1, 5, distractor_id)
    work = Work(RequestPatching(request_id=1, run_id="r", metric=MetricQuestion(pos=N - 1), corrupted_prompt="x"))
    patching = Patching(runs, metric, segments_of(edits, N, engine), parts_of(engine), work)
    assert len(list(patching.compute_both_runs())) >= 2
    return patching, clean, corrupted


@contextmanager
def planted(reference: Reference, patch: Patch, clean: Full, edits: Sequence[Edit]) -> Iterator[None]:
    """Inside, the reference's model has the clean run's values at one patch's place.

    The run's own edits multiply afterwards, here and in the clean run: what is planted is what they found there.
    """
    block, span = reference.blocks[patch.layer], slice(patch.start, patch.stop)
    attention, mlp = getattr(block, reference._attn), getattr(block, reference._mlp)
    w_o, w_out = getattr(attention, reference._w_o), getattr(mlp, reference._w_out)
    factors = reference._factors(patch.layer, len(clean.logits), w_o, w_out, edits)

    def unedited(site: str, values: torch.Tensor) -> torch.Tensor:
        factor = factors[site]
        return values if factor is None else values / torch.where(factor == 0, 1.0, factor)

    def put(tensor: torch.Tensor, values: torch.Tensor, where: slice = slice(None)) -> torch.Tensor:
        changed = tensor.clone()
        changed[:, span, where] = values[span, where]
        return changed

    def after(values: torch.Tensor) -> Callable[..., object]:
        def hook(module: object, args: object, output: object) -> object:
            return (put(output[0], values), *output[1:]) if isinstance(output, tuple) else put(output, values)

        return hook

    if patch.site == "resid_pre":
        values = clean.resid[patch.layer]
        handle = block.register_forward_pre_hook(lambda module, args: (put(args[0], values), *args[1:]))
    elif patch.site == "z":
        z = unedited("z", clean.z[patch.layer])
        width = z.shape[-1] // reference.n_heads
        where = slice(patch.head * width, (patch.head + 1) * width)
        handle = w_o.register_forward_pre_hook(lambda module, args: (put(args[0], z, where), *args[1:]))
    elif patch.site == "attn_out":
        writer = getattr(block, reference._post_attn) if reference._post_attn else attention
        handle = writer.register_forward_hook(after(unedited("attn", clean.attn_out[patch.layer])))
    else:
        writer = getattr(block, reference._post_mlp) if reference._post_mlp else mlp
        handle = writer.register_forward_hook(after(unedited("mlp", clean.mlp_out[patch.layer])))
    try:
        yield
    finally:
        handle.remove()


def expected(
    reference: Reference, runs: TwoRuns, patches: Sequence[Patch], metric: Metric, edits: Sequence[Edit], clean: Full
) -> np.ndarray:
    """Each patch's score, the long way round: a whole forward of the corrupted prompt each."""

    def value(full: Full) -> float:
        return reference.metric(full, metric.pos, metric.target_id, metric.distractor_id)

    corrupted = value(reference.run(runs.corrupted_ids, edits))
    found = []
    for patch in patches:
        with planted(reference, patch, clean, edits):
            found.append(value(reference.run(runs.corrupted_ids, edits)))
    return (np.array(found) - corrupted) / (value(clean) - corrupted)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("edits", [(), EDITS], ids=["as it is", "under interventions"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_equals_the_reference(
    tiny: Tiny, tiny_reference: TinyReference, family: str, edits: Sequence[Edit]
) -> None:
    """All layers, positions, sites and heads, the positions before the first difference among them."""
    engine, reference, runs = tiny(family), tiny_reference(family), two_runs(family)
    patching, clean, _ = patching_of(engine, reference, runs, edits)
    plan = plan_patches(runs, patching.parts)
    *_, scores = results(patching, plan.patches)
    wanted = expected(reference, runs, plan.patches, patching.metric, edits, clean)
    difference = abs(patching.clean_value - patching.corrupted_value)
    assert np.abs(scores - wanted).max() <= 2e-4 * max(1.0, abs(patching.clean_value)) / difference + 2e-4
    assert np.ptp(wanted) > 0.1, "nothing happened: the comparison says nothing"
    before = Patch(site="resid_pre", layer=1, start=1, stop=FIRST)
    assert expected(reference, runs, [before], patching.metric, edits, clean)[0] == pytest.approx(0, abs=1e-4)
    assert all((plan.maps[site][:, :FIRST] == -1).all() for site in ("resid_pre", "attn_out", "mlp_out"))
    assert engine.hooks_left() == 0


def results(patching: Patching, patches: Sequence[Patch]) -> tuple[int, np.ndarray]:
    """How many pieces of work it took, and the scores."""
    pieces, scoring = 0, patching.scores_of(patches)
    while True:
        try:
            next(scoring)
        except StopIteration as end:
            return pieces, end.value
        pieces += 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_of_few_positions_and_rows_give_the_same(
    tiny: Tiny, tiny_reference: TinyReference, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long prompts are computed a stretch at a time, each row with keys and values of its own."""
    runs = two_runs(family)
    patching, _, _ = patching_of(tiny(family), tiny_reference(family), runs, EDITS, distractor_id=None)
    patches = plan_patches(runs, patching.parts).patches
    few, at_once = results(patching, patches)
    monkeypatch.setattr(patching, "_tokens_per_piece", 18)
    many, in_pieces = results(patching, patches)
    assert many > 2 * few
    assert in_pieces == pytest.approx(at_once, abs=2e-3)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_everything_restores_all_and_nothing_restores_nothing(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    engine, runs = tiny(family), two_runs(family)
    patching, _, _ = patching_of(engine, tiny_reference(family), runs, EDITS)
    whole = [Patch(site="resid_pre", layer=layer, start=FIRST, stop=N) for layer in range(engine.info.n_layers)]
    nothing = [Patch(site="resid_pre", layer=layer, start=N, stop=N) for layer in range(engine.info.n_layers)]
    _, full = results(patching, whole)
    assert full == pytest.approx(1, abs=1e-4)
    beside = [Patch(site="resid_pre", layer=0, start=FIRST, stop=FIRST + 1), *nothing]
    scores = scores_with(patching, beside, start=FIRST)
    assert scores[1:] == pytest.approx(0, abs=1e-4)
    assert abs(scores[0]) > 1e-3


def scores_with(patching: Patching, patches: Sequence[Patch], *, start: int) -> np.ndarray:
    """Scores of patches in one forward call from `start`."""
    cache = prefix_cache(patching.prefix, patching.parts.anatomy.shape.n_layers, n_positions=start, keeps_rows=True)
    piece = patching._run(patches, range(start, N), cache)
    return (patching._values(piece)[1:] - patching.corrupted_value) / (patching.clean_value - patching.corrupted_value)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out", "z"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_changes_nothing_outside_its_causal_cone_bit_for_bit(
    tiny: Tiny, tiny_reference: TinyReference, family: str, site: PatchSite
) -> None:
    """Below its layer and before its position every bit is as in a call that patches nothing."""
    layer, pos, runs = 1, 6, two_runs(family)
    patching, _, _ = patching_of(tiny(family), tiny_reference(family), runs, EDITS)
    n_layers = patching.parts.anatomy.shape.n_layers

    def streams(at: int, *patches: Patch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        cache = prefix_cache(patching.prefix, n_layers, n_positions=at, keeps_rows=True)
        prefix = [torch.cat([held.keys, held.values]).clone() for held in cache.layers]
        piece = run_patched(
            patching.parts, runs.corrupted_ids[at:], patches, start=at, cache=cache, source=patching.source,
            segments=patching.segments,
        )  # fmt: skip
        for held, old in zip(cache.layers, prefix, strict=True):
            for row in range(held.keys.shape[0]):
                continued = torch.cat([held.keys[row : row + 1, :, :at], held.values[row : row + 1, :, :at]])
                assert torch.equal(continued, old), "the prefix was changed"
        return [tensor for tensor in piece.tensors["resid"] if tensor is not None], prefix

    patch = Patch(site=site, layer=layer, start=pos, stop=pos + 1, head=2 if site == "z" else None)
    for start in (FIRST, pos):
        plain, prefix = streams(start)
        patched, same_prefix = streams(start, patch)
        assert all(torch.equal(one, other) for one, other in zip(prefix, same_prefix, strict=True))
        for at in range(layer):  # below: the row does not exist, and row 0 is what it was
            assert patched[at].shape[0] == 1
            assert torch.equal(patched[at], plain[at])
        assert patched[layer].shape[0] == 1, "captured before the layer's own patch"
        assert patched[n_layers].shape[0] == 2
        assert not torch.equal(patched[n_layers][1, pos - start :], patched[n_layers][0, pos - start :])
        # In one batch, the rows are told apart at the patch and after it, and nowhere else.
        for at in range(layer + 1, n_layers + 1):
            assert patched[at][1, : pos - start].equal(patched[at][0, : pos - start])


@pytest.mark.usefixtures("one_thread")
def test_the_two_runs_are_compared_where_nothing_is_patched(tiny: Tiny, tiny_reference: TinyReference) -> None:
    reference, runs = tiny_reference("llama"), two_runs("llama")
    patching, clean, corrupted = patching_of(tiny("llama"), reference, runs, EDITS)
    distance = patching.seen.resid_distance
    assert (distance[:, :FIRST] == 0).all()
    for layer, (one, other) in enumerate(zip(clean.resid, corrupted.resid, strict=True)):
        wanted = (one - other).norm(dim=-1) / other.norm(dim=-1)
        assert distance[layer] == pytest.approx(wanted.numpy(), abs=1e-4)
    norms = reference.head_writes(clean, N - 1).norm(dim=-1) - reference.head_writes(corrupted, N - 1).norm(dim=-1)
    assert patching.seen.head_norm_difference() == pytest.approx(norms.numpy(), abs=1e-4)


def test_cells_that_cannot_change_are_zero() -> None:
    assert spread(np.array([2.0, 3.0], np.float32), np.array([[-1, 1], [0, -1]])).tolist() == [[0.0, 3.0], [2.0, 0.0]]


def context_of(ids: Sequence[int], n_prompt: int) -> AnalysisContext:
    segment = ContextSegment(from_pos=0, revision=0, masks=None)
    return AnalysisContext(token_ids=tuple(ids), n_prompt=n_prompt, n_positions=len(ids), segments=(segment,))


def ask(prompt: str, pos: int, *, target: str | int = " Mary", distractor: str | int = " John") -> RequestPatching:
    metric = MetricQuestion(pos=pos, target=target, distractor=distractor)
    return RequestPatching(request_id=1, run_id="r", metric=metric, corrupted_prompt=prompt)


@pytest.mark.parametrize(
    ("prompt", "code", "text"),
    [
        (JOHN + " the", "prompts_differ_in_length", "15 tokens and the run's has 14.*1 token less"),
        ("When Mary and", "prompts_differ_in_length", "3 tokens and the run's has 14.*11 tokens more"),
        (MARY, "prompts_are_equal", "the same tokens up to position 13"),
    ],
)
def test_prompts_that_cannot_be_compared_are_refused(shipped: TorchEngine, prompt: str, code: str, text: str) -> None:
    ids = shipped.tokenize(MARY, apply_chat_template=False)
    with pytest.raises(AnalysisRefusedError, match=text) as refused:
        list(shipped.analyse(ask(prompt, len(ids) - 1), context_of(ids, len(ids))))
    assert refused.value.code == code
    assert shipped.hooks_left() == 0


@pytest.mark.usefixtures("one_thread")
def test_prompts_that_give_the_same_answer_are_refused(tiny: Tiny, tiny_reference: TinyReference) -> None:
    runs, engine = two_runs("llama"), tiny("llama")
    clean = tiny_reference("llama").run(runs.clean_ids)
    metric = metric_of(tiny_reference("llama"), clean, N - 1, 5, 6)
    work = Work(ask("x", N - 1))
    same = TwoRuns(clean_ids=runs.clean_ids, corrupted_ids=runs.clean_ids, first=FIRST)
    with pytest.raises(AnalysisRefusedError, match="nothing to restore"):
        list(Patching(same, metric, [], parts_of(engine), work).compute_both_runs())
    with pytest.raises(EngineError, match="could not be computed again"):
        other = TwoRuns(clean_ids=runs.corrupted_ids, corrupted_ids=runs.clean_ids, first=FIRST)
        list(Patching(other, metric, [], parts_of(engine), work).compute_both_runs())


def test_generated_tokens_follow_the_other_prompt_as_they_are(tiny: Tiny) -> None:
    engine = tiny("llama")
    ids = [7, 8, 9]  # the shipped tokenizer's ids reach beyond the tiny vocabulary; these texts' do not
    text = engine.token_text(7) + engine.token_text(10) + engine.token_text(9)
    assert engine.tokenize(text, apply_chat_template=False) == [7, 10, 9]
    run = [*ids, 20, 21]
    *_, answer = engine.analyse(ask(text, 4, target=5, distractor=6), context_of(run, len(ids)))
    assert isinstance(answer, PatchingReady)
    assert answer.first_difference == 1
    assert answer.clean_tokens[3:] == answer.corrupted_tokens[3:] == [engine.token_text(20), engine.token_text(21)]
    assert answer.clean_tokens[1] != answer.corrupted_tokens[1]


def test_the_shipped_model_moves_the_name_from_its_token_to_the_last(shipped: TorchEngine) -> None:
    """Mary and John: the stream carries who gave until layer 20 or so at that token, then at the last; by L23H3."""
    ids = shipped.tokenize(MARY, apply_chat_template=False)
    n = len(ids)
    progress, answer = answered(shipped.analyse(ask(JOHN, n - 1), context_of(ids, n)))
    assert isinstance(answer, PatchingReady)
    stream, heads = reconstruct(answer.resid_pre), reconstruct(answer.heads_last)
    print(f"{answer.secs:.1f} s, {len(progress)} pieces, {answer.n_patches} patches")
    assert [answer.clean_tokens[9], answer.corrupted_tokens[9]] == [" John", " Mary"]
    assert (answer.metric.value, answer.corrupted_value) == pytest.approx((6.12, -5.485), abs=0.01)
    assert answer.first_difference == 9
    assert stream[:19, 9] == pytest.approx(1, abs=0.02)
    assert stream[24:, 9] == pytest.approx(0, abs=0.06)
    assert stream[24:, -1].min() > 0.9
    assert np.abs(stream[:, 10:13]).max() < 0.1
    assert (stream[:, :9] == 0).all()
    strongest = np.unravel_index(np.argsort(-np.abs(heads), axis=None)[:5], heads.shape)
    named = list(zip(*(axis.tolist() for axis in strongest), strict=True))
    assert named[0] == (23, 3)
    assert set(named) == {
        (23, 3), (29, 1), (24, 4), (20, 0), (29, 0),
    }  # fmt: skip
    assert heads[23, 3] == pytest.approx(0.552, abs=0.01)
    assert progress[-1].done == progress[-1].total
