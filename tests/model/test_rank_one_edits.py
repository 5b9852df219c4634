"""A rank-1 edit equals plain Hugging Face with the same by hand, has rank 1, and leaves no bit behind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from tests.model.edited_by_hand import hooked_by_hand, with_weights_changed
from tests.model.families import FAMILIES
from tests.model.hand_hooks import forward_by_hand
from tests.model.operation_cases import Case
from tests.model.reference import Reference
from tests.model.test_operations import IDS, N_PROMPT, WHERE, assert_equals, held_at, stepwise

from livelens.model.capture import ForwardHooks
from livelens.model.edits import edits_from
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment
from livelens.model.interventions import InterventionMasks, masks_from, width_into
from livelens.model.operations import Span, WeightEdit
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Component, EditedMatrix, InterventionSpec, MetricQuestion, Positions
from livelens.protocol.messages import RequestAttribution as WhyQuestion
from livelens.run.resources import RunResources, Surroundings

Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]
MATRICES: tuple[EditedMatrix, ...] = ("mlp_out", "ov")


def edit_of(engine: TorchEngine, matrix: EditedMatrix, *, layer: int = 1, seed: int = 3) -> WeightEdit:
    generator = np.random.default_rng(seed)
    width = width_into(matrix, engine.info)
    key = generator.standard_normal(width).astype(np.float32)
    value = generator.standard_normal(engine.info.d_model).astype(np.float32)
    return WeightEdit(matrix, layer, key, value)


def masks_of(engine: TorchEngine, specs: Sequence[InterventionSpec], edits: dict[str, WeightEdit]) -> InterventionMasks:
    resources = RunResources(engine, IDS[:N_PROMPT], Surroundings(directions={}, edits=edits))
    return masks_from(specs, engine.info, resources)


def edited(edit_id: str, amount: float, positions: Positions | None = None) -> InterventionSpec:
    return InterventionSpec(
        edit_id, "rank_one_edit", [], amount, positions=positions or Positions(), edit_id=edit_id
    )  # fmt: skip


def weights_sha(engine: TorchEngine) -> str:
    whole = hashlib.sha256()
    for _, parameter in sorted(engine.model.state_dict().items()):
        whole.update(parameter.contiguous().numpy().tobytes())
    return whole.hexdigest()


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_equals_the_same_by_hand_at_its_positions(
    tiny: Engines, tiny_reference: References, family: str, matrix: EditedMatrix, one_thread: None
) -> None:
    """As a run drives it, with cache: prompt in pieces, then token by token; every channel, also what they sum to."""
    engine, reference = tiny(family), tiny_reference(family)
    edit = edit_of(engine, matrix)
    clean = forward_by_hand(reference, IDS, {})
    wheres = list(WHERE.values())
    first = FAMILIES.index(family) + MATRICES.index(matrix)
    chosen = wheres if family == "llama" else [wheres[(first + step) % len(wheres)] for step in (0, 2)]
    for from_pos, positions in chosen:
        spec = edited("e", 0.7, positions)
        ours = stepwise(engine, IDS, [(from_pos, masks_of(engine, [spec], {"e": edit}))], N_PROMPT)
        held = held_at(Case(spec=spec, hands={}), from_pos, positions, IDS)
        with hooked_by_hand(reference, edit, 0.7, held):
            seen = forward_by_hand(reference, IDS, {})
        assert_equals(ours, seen, reference, tolerance=1e-5)
        assert not torch.equal(seen.logits, clean.logits)
    assert engine.hooks_left() == 0


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_changes_of_a_matrix_has_rank_one_and_is_what_was_asked(
    tiny: Engines, family: str, matrix: EditedMatrix, one_thread: None
) -> None:
    """Measured: every basis vector is sent through the module as a forward call hooks it, and through it alone."""
    engine = tiny(family)
    edit = edit_of(engine, matrix)
    masks = masks_of(engine, [edited("e", 0.5)], {"e": edit})
    layer = engine.anatomy.layers[1]
    module = layer.mlp_output if matrix == "mlp_out" else layer.attention_output
    assert module is not None
    basis = torch.eye(len(edit.key))[None]
    edits = edits_from([masks], shape=engine.anatomy.shape, device=engine.model.device, dtype=engine.model.dtype)
    with torch.inference_mode():
        with ForwardHooks(
            engine.anatomy, edits=edits.bound(Span(0, (1,) * len(edit.key))), sites=frozenset(("resid",))
        ):
            under = module(basis)[0].double()
        change = under - module(basis)[0].double()
    values = torch.linalg.svdvals(change)
    assert values[1] / values[0] < 1e-6
    asked = 0.5 * np.outer(edit.key.astype(np.float64), edit.value)
    assert float((change - torch.from_numpy(asked)).abs().max()) < 1e-5
    assert engine.hooks_left() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_undone_leaves_no_bit(tiny: Engines, family: str, one_thread: None) -> None:
    """Logits of a run before, of one under edits, and of one after; two runs at once do not see each other's."""
    engine = tiny(family)
    edits = {matrix: edit_of(engine, matrix) for matrix in MATRICES}
    masks = masks_of(engine, [edited(matrix, 2.0) for matrix in MATRICES], dict(edits))
    sha, before = weights_sha(engine), stepwise(engine, IDS, [], N_PROMPT)[1]
    under, clean = engine.open_sequence(), engine.open_sequence()
    for start, stop in ((0, 5), (5, 9), (9, len(IDS))):
        changed = under.forward(IDS[start:stop], masks=masks, channels=frozenset()).logits
        plain = clean.forward(IDS[start:stop], masks=None, channels=frozenset()).logits
    assert not np.array_equal(changed, plain)
    after = stepwise(engine, IDS, [], N_PROMPT)[1]
    assert all(np.array_equal(before[pos], after[pos]) for pos in before)
    under.truncate(9)
    clean.truncate(9)
    again = under.forward(IDS[9:], masks=None, channels=frozenset()).logits  # the first nine stay edited
    assert not np.array_equal(again, clean.forward(IDS[9:], masks=None, channels=frozenset()).logits)
    under.truncate(0)
    clean.truncate(0)
    whole = under.forward(IDS, masks=None, channels=frozenset()).logits
    assert np.array_equal(whole, clean.forward(IDS, masks=None, channels=frozenset()).logits)
    assert weights_sha(engine) == sha


@pytest.mark.parametrize("family", FAMILIES)
def test_edits_mixed_with_other_operations_equal_the_same_by_hand(
    tiny: Engines, tiny_reference: References, family: str, one_thread: None
) -> None:
    """Both matrices, one twice, of layers whose heads, neurons and whole writes are changed too, each at its own."""
    engine, reference = tiny(family), tiny_reference(family)
    edits = {
        "first": edit_of(engine, "mlp_out"),
        "second": edit_of(engine, "mlp_out", seed=5),
        "heads": edit_of(engine, "ov"),
        "last": edit_of(engine, "ov", layer=2, seed=6),
    }
    some, rest = Positions("range", 5, 12), Positions("tokens", token_ids=[17, 5])
    amounts = {"first": (0.5, Positions()), "second": (-0.8, some), "heads": (1.0, rest), "last": (0.3, Positions())}
    d_head = engine.info.d_head
    specs = [
        *(edited(name, amount, positions) for name, (amount, positions) in amounts.items()),
        InterventionSpec("z", "zero", [Component("head", 1, 2)], positions=some),
        InterventionSpec("n", "scale", [Component("neuron", 1, 7)], -1.5),
        InterventionSpec("a", "scale", [Component("attn", 2)], 0.5),
        InterventionSpec("m", "scale", [Component("mlp", 1)], 1.5, positions=rest),
    ]
    from_pos = 3
    ours = stepwise(engine, IDS, [(from_pos, masks_of(engine, specs, edits))], N_PROMPT)
    all_held, in_some, in_rest = (
        held_at(Case(spec=specs[0], hands={}), from_pos, positions, IDS)[:, None]
        for positions in (Positions(), some, rest)
    )

    def no_head(z: torch.Tensor) -> torch.Tensor:
        gone = z.clone()
        gone[:, 2 * d_head : 3 * d_head] = 0
        return torch.where(in_some, gone, z)

    def scaled(x: torch.Tensor) -> torch.Tensor:
        more = x.clone()
        more[:, 7] *= -1.5
        return torch.where(all_held, more, x)

    hands = {
        ("z", 1): no_head,
        ("neurons", 1): scaled,
        ("attn", 2): lambda x: torch.where(all_held, x * 0.5, x),
        ("mlp", 1): lambda x: torch.where(in_rest, x * 1.5, x),
    }
    with ExitStack() as stack:
        for name, (amount, positions) in amounts.items():
            held = held_at(Case(spec=specs[0], hands={}), from_pos, positions, IDS)
            stack.enter_context(hooked_by_hand(reference, edits[name], amount, held))
        seen = forward_by_hand(reference, IDS, hands)
    assert_equals(ours, seen, reference, tolerance=3e-5)


@pytest.mark.parametrize("matrix", MATRICES)
def test_on_the_shipped_model_it_equals_the_weights_really_changed(
    shipped: TorchEngine, shipped_reference: Reference, matrix: EditedMatrix
) -> None:
    """The whole run under it, against a copy with other weights; from a prompt and a generated position, by hand."""
    ids = shipped.tokenize("The Eiffel Tower is in the city of Paris, and the river", apply_chat_template=False)
    edit = edit_of(shipped, matrix, layer=17)
    masks = masks_of(shipped, [edited("e", 0.02)], {"e": edit})
    clean = forward_by_hand(shipped_reference, ids, {})
    none = frozenset()
    for from_pos in (0, 4, 10):
        ours = stepwise(shipped, ids, [(from_pos, masks)], 9, channels=none)
        if from_pos == 0:
            seen = forward_by_hand(with_weights_changed(shipped_reference, edit, 0.02), ids, {})
        else:
            with hooked_by_hand(shipped_reference, edit, 0.02, torch.arange(len(ids)) >= from_pos):
                seen = forward_by_hand(shipped_reference, ids, {})
        assert_equals(ours, seen, shipped_reference, tolerance=1e-5)
        assert float((seen.logits[-1] - clean.logits[-1]).abs().max()) > 0.05


def test_what_an_edited_matrix_writes_is_not_attributed_but_refused(tiny: Engines, one_thread: None) -> None:
    engine = tiny("llama")
    masks = masks_of(engine, [edited("e", 1.0)], {"e": edit_of(engine, "ov")})
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=N_PROMPT,
        n_positions=len(IDS),
        segments=(
            ContextSegment(from_pos=0, revision=0, masks=None),
            ContextSegment(from_pos=8, revision=1, masks=masks),
        ),
    )
    why = WhyQuestion(request_id=1, run_id="r", metric=MetricQuestion(10), node="logit@10", direction="incoming")
    with pytest.raises(AnalysisRefusedError, match="edits a weight matrix"):
        list(engine.analyse(why, context))
    before = WhyQuestion(request_id=1, run_id="r", metric=MetricQuestion(7), node="logit@7", direction="incoming")
    assert list(engine.analyse(before, context))


def test_an_edit_of_another_model_s_shape_is_refused(tiny: Engines) -> None:
    engine = tiny("llama")
    edit = edit_of(engine, "mlp_out")
    for wrong, reason in (
        (WeightEdit("mlp_out", 1, edit.key[:-1], edit.value), "takes 40 and 32"),
        (WeightEdit("ov", 1, edit.key, edit.value), "this model's ov takes"),
        (WeightEdit("mlp_out", 3, edit.key, edit.value), "layers 0 to 2"),
    ):
        with pytest.raises(ValueError, match=reason):
            masks_of(engine, [edited("e", 1.0)], {"e": wrong})
    with pytest.raises(ValueError, match="holds no edit"):
        masks_of(engine, [edited("e", 1.0)], {})
