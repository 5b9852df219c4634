"""A sequence's cache: stepwise equals whole, truncation forgets, runs do not see each other, faults leave nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeVar

import numpy as np
import pytest
import torch
from tests.model.driving import ALL, masks_at
from tests.model.families import D_VOCAB, FAMILIES, N_CTX, N_LAYERS
from tests.model.reference import Edit

from livelens.model.engine import EngineError, LogitPair, StepArrays
from livelens.model.interventions import InterventionMasks
from livelens.model.sequence import TorchSequence
from livelens.model.torch_engine import TorchEngine

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = [5, 100, 42, 7, 310, 599, 12, 451, 3, 77, 78, 79, 500, 2, 9, 33]
EDIT = Edit(start=0, stop=1000, heads={(0, 1): 0.0}, neurons={(1, 3): 0.0, (2, 0): -1.0}, mlp={1: 0.5})
Engines = Callable[[str], TorchEngine]
T = TypeVar("T")


def _flat(arrays: StepArrays) -> dict[str, np.ndarray]:
    """Every array of a step by name, numbers included."""
    values = {name: getattr(arrays, name) for name in ("neurons", "heads", "attention", "residual", "attn_out")}
    values |= {f"lens_{name}": getattr(arrays.lens, name) for name in ("prob", "entropy", "logprob")}
    values |= {f"direct_{name}": getattr(arrays.direct, name) for name in ("heads", "mlps", "attn_bias", "total")}
    return {name: np.asarray(value) for name, value in values.items()}


def _read(sequence: TorchSequence, ids: list[int], masks: InterventionMasks | None = None) -> list[dict]:
    captured = sequence.forward(ids, masks=masks, channels=ALL)
    return [
        _flat(captured.arrays(index, channels=ALL, chosen_id=8, pair=LogitPair())) | {"logits": captured.logits}
        for index in range(len(ids))
    ]


def _assert_same(ours: list[dict], theirs: list[dict], *, tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for position, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        for name, value in mine.items():
            scale = max(1.0, float(np.abs(other[name]).max()))
            difference = float(np.abs(value - other[name]).max())
            assert difference <= tolerance * scale, f"{name} at {position} differs by {difference}"


@pytest.mark.parametrize("family", FAMILIES)
def test_step_by_step_with_the_cache_equals_all_at_once(tiny: Engines, family: str) -> None:
    engine = tiny(family)
    masks = masks_at([EDIT], 0, engine.info)
    stepwise, whole = engine.open_sequence(), engine.open_sequence()
    steps = [_read(stepwise, [token_id], masks)[0] for token_id in IDS]
    at_once = _read(whole, IDS, masks)
    for step in steps[:-1]:
        step.pop("logits")  # of that step; the whole call has them for its last position only
    _assert_same(steps, at_once, tolerance=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep", [0, 1, 9, len(IDS)])
def test_a_truncated_sequence_goes_on_like_a_fresh_one(tiny: Engines, family: str, keep: int) -> None:
    engine = tiny(family)
    masks = masks_at([EDIT], 0, engine.info)
    used, fresh = engine.open_sequence(), engine.open_sequence()
    if keep:
        _read(used, IDS[:keep])
        _read(fresh, IDS[:keep])
    _read(used, [*IDS[keep:], 1, 2, 3], masks)
    used.truncate(keep)
    assert used.n_positions == fresh.n_positions == keep
    _assert_same(_read(used, [17, 18, 19]), _read(fresh, [17, 18, 19]), tolerance=0.0)


def test_truncation_takes_only_positions_there_are(tiny: Engines) -> None:
    sequence = tiny("llama").open_sequence()
    sequence.forward(IDS, masks=None, channels=frozenset())
    for wrong in (-1, len(IDS) + 1):
        with pytest.raises(ValueError, match="cannot truncate"):
            sequence.truncate(wrong)
    assert sequence.n_positions == len(IDS)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_runs_with_different_masks_each_equal_their_solo_run_exactly(tiny: Engines, family: str) -> None:
    engine = tiny(family)
    masks = (masks_at([EDIT], 0, engine.info), None)

    def solo(which: int) -> list[dict]:
        sequence = engine.open_sequence()
        return [_read(sequence, ids, masks[which])[-1] for ids in ([*IDS[:4]], *([token] for token in IDS[4:]))]

    alone = solo(0), solo(1)
    sequences = engine.open_sequence(), engine.open_sequence()
    together: tuple[list[dict], list[dict]] = ([], [])
    for ids in ([*IDS[:4]], *([token] for token in IDS[4:])):
        for which in (0, 1):
            together[which].append(_read(sequences[which], ids, masks[which])[-1])
    for which in (0, 1):
        _assert_same(together[which], alone[which], tolerance=0.0)
    assert np.abs(alone[0][-1]["logits"] - alone[1][-1]["logits"]).max() > 1e-3


def test_two_runs_on_the_shipped_model_do_not_see_each_other(shipped: TorchEngine) -> None:
    edit = Edit(start=0, stop=100, heads={(3, 1): 0.0, (23, 0): 0.0}, mlp={11: 0.0})
    masks = (masks_at([edit], 0, shipped.info), None)
    prompt = shipped.tokenize("The Eiffel Tower is in the city of", apply_chat_template=False)
    steps = [prompt, [11], [12], [13]]

    def run(sequence: TorchSequence, ids: list[int], which: int) -> np.ndarray:
        return sequence.forward(ids, masks=masks[which], channels=frozenset()).logits

    solo = [[run(sequence, ids, which) for ids in steps] for which, sequence in _open_two(shipped)]
    mixed: list[list[np.ndarray]] = [[], []]
    pair = list(_open_two(shipped))
    for ids in steps:
        for which, sequence in pair:
            mixed[which].append(run(sequence, ids, which))
    for which in (0, 1):
        assert max(float(np.abs(a - b).max()) for a, b in zip(solo[which], mixed[which], strict=True)) == 0.0


def _open_two(engine: TorchEngine) -> list[tuple[int, TorchSequence]]:
    return [(0, engine.open_sequence()), (1, engine.open_sequence())]


def test_channels_change_what_is_read_not_what_is_computed(tiny: Engines) -> None:
    engine = tiny("llama")
    bare = engine.open_sequence().forward(IDS, masks=None, channels=frozenset())
    full = engine.open_sequence().forward(IDS, masks=None, channels=ALL)
    assert np.abs(bare.logits - full.logits).max() <= 1e-5 * np.abs(full.logits).max()
    with pytest.raises(KeyError, match="was not captured"):
        bare.arrays(0, channels=frozenset(["neurons"]), chosen_id=0, pair=LogitPair())


def test_a_position_that_is_not_new_is_an_error(tiny: Engines) -> None:
    captured = tiny("llama").open_sequence().forward(IDS[:3], masks=None, channels=ALL)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match="3 new ones"):
            captured.prediction(wrong, chosen_id=0, top_k=1)


# ---------------------------------------------------------------------- limits and faults


def test_the_context_overflows_before_the_forward(tiny: Engines) -> None:
    engine = tiny("gpt2")
    for n in (1, N_CTX - 1, N_CTX):
        sequence = engine.open_sequence()
        sequence.forward([1] * n, masks=None, channels=frozenset())
        with pytest.raises(EngineError, match=f"{N_CTX} that this model takes"):
            sequence.forward([1] * (N_CTX - n + 1), masks=None, channels=frozenset())
        assert sequence.n_positions == n
        if n < N_CTX:
            sequence.forward([1] * (N_CTX - n), masks=None, channels=frozenset())


@pytest.mark.parametrize("ids", [[], [-1], [D_VOCAB], [1, D_VOCAB + 5]])
def test_tokens_that_do_not_exist_are_refused(tiny: Engines, ids: list[int]) -> None:
    sequence = tiny("gpt2").open_sequence()
    with pytest.raises(EngineError):
        sequence.forward(ids, masks=None, channels=frozenset())
    assert sequence.n_positions == 0


def test_a_closed_sequence_says_so(tiny: Engines) -> None:
    sequence = tiny("gpt2").open_sequence()
    sequence.close()
    sequence.close()
    with pytest.raises(EngineError, match="closed"):
        sequence.forward([1], masks=None, channels=frozenset())


class InjectedError(Exception):
    """Raised in the middle of a forward."""


FAULTS: dict[str, tuple[type[BaseException], str, type[BaseException]]] = {
    "fault": (InjectedError, "", InjectedError),
    "cuda oom": (torch.OutOfMemoryError, "CUDA out of memory", EngineError),
    "cpu oom": (
        RuntimeError,
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
        EngineError,
    ),
    "interrupt": (KeyboardInterrupt, "", KeyboardInterrupt),
}


def places_with(parts: Sequence[str], ways: Sequence[T]) -> list[tuple[str, int, str, T]]:
    """Every part of every layer of every family: each of `ways` in one family, in the others one, in turns."""
    places = product(enumerate(FAMILIES), range(N_LAYERS), enumerate(parts))
    return [
        (family, layer, part, way)
        for (i, family), layer, (k, part) in places
        for way in (ways if i == 0 else [ways[(i + layer + k) % len(ways)]])
    ]


@pytest.mark.parametrize(
    ("family", "layer", "part", "fault"), places_with(("attention_output", "mlp", "block"), list(FAULTS))
)
def test_a_fault_in_a_forward_leaves_no_hook_and_the_sequence_as_before(
    tiny: Engines, family: str, layer: int, part: str, fault: str
) -> None:
    engine, (kind, words, seen_as) = tiny(family), FAULTS[fault]
    masks = masks_at([EDIT], 0, engine.info)
    sequence, untouched = engine.open_sequence(), engine.open_sequence()
    for each in (sequence, untouched):
        each.forward(IDS[:5], masks=masks, channels=ALL)

    def fail(module: torch.nn.Module, args: object, output: object) -> None:
        raise kind(words)

    handle = getattr(engine.anatomy.layers[layer], part).register_forward_hook(fail)
    try:
        with pytest.raises(seen_as):
            sequence.forward(IDS[5:], masks=masks, channels=ALL)
    finally:
        handle.remove()
    assert engine.hooks_left() == 0
    assert sequence.n_positions == 5
    _assert_same(_read(sequence, IDS[5:8], masks), _read(untouched, IDS[5:8], masks), tolerance=0.0)


def test_a_fault_in_the_first_forward_leaves_an_empty_sequence(tiny: Engines) -> None:
    engine = tiny("llama")
    sequence = engine.open_sequence()

    def fail(module: torch.nn.Module, args: object, output: object) -> None:
        raise InjectedError

    handle = engine.anatomy.layers[2].mlp.register_forward_hook(fail)
    with pytest.raises(InjectedError):
        sequence.forward(IDS, masks=None, channels=ALL)
    handle.remove()
    _assert_same(_read(sequence, IDS), _read(engine.open_sequence(), IDS), tolerance=0.0)


def test_hooks_live_only_inside_a_forward(tiny: Engines) -> None:
    engine = tiny("gemma2")
    seen: list[int] = []
    handle = engine.anatomy.final_norm.register_forward_hook(lambda *_: seen.append(engine.hooks_left()))
    sequence = engine.open_sequence()
    for _ in range(3):
        sequence.forward([1], masks=masks_at([EDIT], 0, engine.info), channels=ALL)
        assert engine.hooks_left() == 0
    handle.remove()
    assert max(seen) > 0


# ---------------------------------------------------------------------- what breaks is named


@pytest.mark.parametrize(
    ("family", "layer", "part", "spoilt"),
    places_with(("attention_output", "mlp_output", "block"), list(product((float("nan"), float("inf")), (1, 6)))),
)
def test_the_layer_that_breaks_is_named(
    tiny: Engines, family: str, layer: int, part: str, spoilt: tuple[float, int]
) -> None:
    engine, (value, n_new) = tiny(family), spoilt
    sequence = engine.open_sequence()
    assert sequence.forward(IDS[:3], masks=None, channels=frozenset()).first_nonfinite_layer() is None

    def spoil(module: torch.nn.Module, args: object, output: object) -> object:
        first = output[0] if isinstance(output, tuple) else output
        first = first.clone()
        first[0, 0, 3] = value  # at the first new position only
        return (first, *output[1:]) if isinstance(output, tuple) else first

    handle = getattr(engine.anatomy.layers[layer], part).register_forward_hook(spoil)
    try:
        captured = sequence.forward(IDS[3 : 3 + n_new], masks=None, channels=frozenset())
    finally:
        handle.remove()
    assert captured.first_nonfinite_layer() == layer


def test_logits_alone_that_break_are_named_after_the_last_layer(tiny: Engines) -> None:
    engine = tiny("llama")

    def spoil(module: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        return output * float("nan")

    handle = engine.anatomy.final_norm.register_forward_hook(spoil)
    captured = engine.open_sequence().forward(IDS, masks=None, channels=frozenset())
    handle.remove()
    assert captured.first_nonfinite_layer() == N_LAYERS
