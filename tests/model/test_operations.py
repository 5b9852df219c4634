"""Every operation equals a full forward of plain Hugging Face with the same written by hand, at the same positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.model.driving import ALL, close
from tests.model.families import D_MLP, FAMILIES, N_HEADS
from tests.model.hand_hooks import Hand, Seen, forward_by_hand
from tests.model.operation_cases import Case, World, at_positions, cases
from tests.model.reference import Reference
from torch import Tensor

from livelens.model.engine import AnalysisContext, ContextSegment, LogitPair, StepArrays
from livelens.model.interventions import InterventionMasks, masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Channel, InterventionSpec, Positions
from livelens.run.resources import RunResources, Surroundings

CHANNELS_READ: frozenset[Channel] = ALL - {"causal_effects", "logit_lens"}
Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]
TEXTS = ("one two three four five six seven eight nine ten eleven twelve", "red blue green, and nothing else")
IDS = [5, 17, 101, 9, 17, 44, 300, 5, 88, 17, 23, 9, 61, 512]  # as many tokens as the longest case needs
N_PROMPT = 9
NAMES = (
    *(
        f"{operation} {kind}"
        for kind in ("head", "neuron", "attn", "mlp")
        for operation in ("zero", "scale", "mean", "resample")
    ),
    *(f"mean {kind} by position" for kind in ("head", "neuron", "attn", "mlp")),
    *(f"resample {kind} at a position" for kind in ("head", "neuron", "attn", "mlp")),
    "set neuron",
    "set attn",
    "set mlp",
    "add direction",
    "add direction before the first layer",
    "add direction of the stream's length",
    "project out",
    "attention knockout",
    "attention knockout, rest as it was",
    "attention set",
    "attention set as typed",
    "attention set, rest scaled",
    "attention turn",
    "attention turn from keys",
)
# The set's first position, and the intervention's own positions within it.
WHERE = {
    "all, the prompt computed under it": (0, Positions("all")),
    "from a prompt position on": (4, Positions()),
    "from a generated position on": (10, Positions()),
    "a range over the prompt's end": (3, Positions("range", 7, 11)),
    "where the token is one of two": (2, Positions("tokens", token_ids=[17, 9])),
}


def world_of(engine: TorchEngine, reference: Reference, *, layer: int, heads: tuple[int, int], neuron: int) -> World:
    info = engine.info
    generator = torch.Generator().manual_seed(7)
    ids = [engine.tokenize(text, apply_chat_template=False) for text in TEXTS]
    seen = [forward_by_hand(reference, [i % info.d_vocab for i in one], {}) for one in ids]
    return World(
        layer=layer,
        n_layers=info.n_layers,
        d_head=info.d_head,
        heads=heads,
        neuron=neuron,
        direction=torch.randn(info.d_model, generator=generator),
        texts=TEXTS,
        seen=(seen[0], seen[1]),
    )


def resources_of(engine: TorchEngine, world: World, prompt: Sequence[int]) -> RunResources:
    return RunResources(engine, prompt, Surroundings(directions={"d": world.direction.numpy()}))


class Words:
    """Tiny models know few tokens: a text's ids wrap round."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine = engine
        self.info = engine.info
        self.values_of = engine.values_of

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        ids = self._engine.tokenize(text, apply_chat_template=apply_chat_template)
        return [token_id % self.info.d_vocab for token_id in ids]


def held_at(case: Case, from_pos: int, positions: Positions, ids: Sequence[int]) -> Tensor:
    """[n]: where the intervention counts, from the definitions alone."""
    held = []
    for pos, token_id in enumerate(ids):
        inside = {
            "from_now": True,
            "all": True,
            "range": positions.from_pos <= pos < (positions.to_pos or len(ids)),
            "tokens": token_id in positions.token_ids,
        }[positions.scope]
        held.append(pos >= from_pos and inside and (case.ends_at is None or pos < case.ends_at))
    return torch.tensor(held)


def hands_of(placed: Sequence[tuple[Case, Tensor]]) -> dict[tuple[str, int], Hand]:
    """Each case's hands where it is held, one case after the other."""

    def hand(place: tuple[str, int], x: Tensor) -> Tensor:
        for case, held in placed:
            if place in case.hands:
                at = held[:, None]
                x = torch.where(at, case.hands[place](x), x)
        return x

    return {place: partial(hand, place) for case, _ in placed for place in case.hands}


def stepwise(
    engine: TorchEngine,
    ids: Sequence[int],
    segments: Sequence[tuple[int, InterventionMasks]],
    n_prompt: int,
    *,
    channels: frozenset[Channel] = CHANNELS_READ,
) -> tuple[dict[int, StepArrays], dict[int, np.ndarray]]:
    """The engine as a run drives it: the prompt in pieces of one set, then token by token. Arrays, last logits."""
    sequence, arrays, logits = engine.open_sequence(), {}, {}
    cuts = sorted({0, n_prompt, *(at for at, _ in segments if at < n_prompt), *range(n_prompt, len(ids) + 1)})
    for start, stop in pairwise(cuts):
        masks = next((masks for at, masks in reversed(segments) if at <= start), None)
        captured = sequence.forward(ids[start:stop], masks=masks, channels=channels)
        for index in range(stop - start) if channels else ():
            arrays[start + index] = captured.arrays(index, channels=channels, chosen_id=1, pair=LogitPair(target_id=3))
        logits[stop - 1] = captured.logits
    sequence.close()
    return arrays, logits


def assert_equals(
    ours: tuple[dict[int, StepArrays], dict[int, np.ndarray]], seen: Seen, reference: Reference, *, tolerance: float
) -> None:
    arrays, logits = ours
    for pos, row in logits.items():
        close(row, seen.logits[pos], relative=tolerance, what=f"logits at {pos}")
    for pos, shown in arrays.items():
        neurons = torch.stack([layer[pos] for layer in seen.neurons])
        close(shown.neurons, neurons, relative=tolerance, what=f"neurons at {pos}")
        pattern = torch.stack([layer[:, pos, : pos + 1] for layer in seen.pattern])
        close(shown.attention, pattern, relative=tolerance, what=f"pattern at {pos}")
        norms = torch.stack([layer[pos].norm() for layer in seen.resid])
        close(shown.residual, norms, relative=tolerance, what=f"stream at {pos}")
        heads = reference.head_writes(seen, pos).norm(dim=-1)
        close(shown.heads, heads, relative=10 * tolerance, what=f"heads at {pos}")
        direct = shown.direct
        parts = [direct.heads.ravel(), direct.mlps, direct.attn_bias, [direct.embed, direct.final_bias]]
        added = float(np.concatenate(parts).sum(dtype=np.float64))
        assert abs(added - direct.total) <= 2e-3 * max(1.0, float(np.abs(np.concatenate(parts)).max()))


@pytest.fixture(scope="module")
def tiny_world(tiny: Engines, tiny_reference: References) -> Callable[[str], World]:
    return cache(
        lambda family: world_of(
            tiny(family), tiny_reference(family), layer=1, heads=(1, N_HEADS - 1), neuron=D_MLP // 2
        )
    )


@pytest.fixture(scope="module")
def tiny_clean(tiny_reference: References) -> Callable[[str], Seen]:
    """What a family's model computes over `IDS`, no intervention in force."""
    return cache(lambda family: forward_by_hand(tiny_reference(family), IDS, {}))


def check(
    engine: TorchEngine,
    reference: Reference,
    world: World,
    specs: Sequence[tuple[Case, InterventionSpec]],
    from_pos: int,
    ids: Sequence[int],
    *,
    n_prompt: int = N_PROMPT,
    tolerance: float = 1e-5,
    channels: frozenset[Channel] = CHANNELS_READ,
) -> Seen:
    resources = RunResources(Words(engine), ids[:n_prompt], Surroundings(directions={"d": world.direction.numpy()}))
    masks = masks_from([spec for _, spec in specs], engine.info, resources)
    ours = stepwise(engine, ids, [(from_pos, masks)], n_prompt, channels=channels)
    placed = [(case, held_at(case, from_pos, spec.positions, ids)) for case, spec in specs]
    seen = forward_by_hand(reference, ids, hands_of(placed))
    assert_equals(ours, seen, reference, tolerance=tolerance)
    assert engine.hooks_left() == 0
    return seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_operation_equals_the_same_by_hand(
    tiny: Engines,
    tiny_reference: References,
    tiny_world: Callable[[str], World],
    tiny_clean: Callable[[str], Seen],
    family: str,
    name: str,
    one_thread: None,
) -> None:
    engine, reference, world = tiny(family), tiny_reference(family), tiny_world(family)
    case = cases(world)[name]
    # One family at all of the places, each other one at one of them, the next at the next.
    wheres = list(WHERE.values())
    chosen = wheres if family == "llama" else [wheres[(NAMES.index(name) + FAMILIES.index(family)) % len(wheres)]]
    changed = 0
    for from_pos, positions in chosen:
        seen = check(engine, reference, world, [(case, at_positions(case, name, positions))], from_pos, IDS)
        changed += not torch.equal(seen.logits, tiny_clean(family).logits)
    assert changed == len(chosen), "an operation that changes nothing proves nothing"


def test_the_list_of_names_is_the_list_of_cases(tiny_world: Callable[[str], World]) -> None:
    assert sorted(NAMES) == sorted(cases(tiny_world("llama")))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_operations_mixed_act_in_the_order_of_the_list(
    tiny: Engines, tiny_reference: References, tiny_world: Callable[[str], World], family: str, one_thread: None
) -> None:
    """Several on one place among them; forwards and backwards, each at its own positions."""
    engine, reference, world = tiny(family), tiny_reference(family), tiny_world(family)
    made = cases(world)
    wheres = [Positions(), Positions("range", 5, 12), Positions("tokens", token_ids=[17, 5])]
    specs = [(made[name], at_positions(made[name], name, wheres[i % 3])) for i, name in enumerate(NAMES)]
    forwards = check(engine, reference, world, specs, 3, IDS, tolerance=3e-5)
    backwards = check(engine, reference, world, specs[::-1], 3, IDS, tolerance=3e-5)
    assert not torch.equal(forwards.logits, backwards.logits)


def test_knocking_out_all_keys_but_one_is_a_one_hot_row(
    tiny: Engines, tiny_world: Callable[[str], World], one_thread: None
) -> None:
    from livelens.protocol.messages import AttentionEdit, Component

    engine = tiny("llama")
    n = len(IDS)
    edit = AttentionEdit([key for key in range(n) if key != 3])
    spec = InterventionSpec("one", "attention_knockout", [Component("head", 1, 2)], attention=edit)
    arrays, _ = stepwise(engine, IDS, [(5, masks_from([spec], engine.info))], N_PROMPT)
    for pos in range(5, n):
        row = arrays[pos].attention[1, 2]
        assert row[3] == pytest.approx(1, abs=1e-6) and np.count_nonzero(row) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_along_a_direction_that_is_projected_out(
    tiny: Engines, tiny_reference: References, tiny_world: Callable[[str], World], family: str, one_thread: None
) -> None:
    engine, reference, world = tiny(family), tiny_reference(family), tiny_world(family)
    case = cases(world)["project out"]
    resources = resources_of(engine, world, IDS)
    masks = masks_from([case.spec], engine.info, resources)
    sequence = engine.open_sequence()
    captured = sequence.forward(IDS, masks=masks, channels=ALL - {"causal_effects"})
    stream = captured._tensors.sites["resid"][world.layer + 1][0]
    unit = world.direction / world.direction.norm()
    plain = forward_by_hand(reference, IDS, {}).resid[world.layer + 1]
    assert float((plain @ unit).abs().max()) > 0.1
    assert float((stream @ unit).abs().max()) <= 1e-5 * float(stream.norm(dim=-1).max())


def test_the_mean_of_a_one_prompt_reference_is_that_prompt(
    tiny: Engines, tiny_world: Callable[[str], World], one_thread: None
) -> None:
    """By position over this run's own prompt: the run as it is, bit for bit up to the prompt's end."""
    from livelens.protocol.messages import Component
    from livelens.protocol.messages import Reference as ValuesFrom

    engine = tiny("llama")
    components = [Component("head", 1, 2), Component("neuron", 0, 7), Component("mlp", 2)]
    spec = InterventionSpec("m", "mean", components, reference=ValuesFrom("prompt", pooled=False))
    masks = masks_from([spec], engine.info, RunResources(engine, IDS, Surroundings(directions={})))
    clean = engine.open_sequence().forward(IDS, masks=None, channels=frozenset())
    under = engine.open_sequence().forward(IDS, masks=masks, channels=frozenset())
    close(under.logits, torch.from_numpy(clean.logits), relative=1e-6, what="logits")


def test_the_mean_of_another_one_prompt_reference_is_what_that_prompt_had(
    tiny: Engines, tiny_reference: References, one_thread: None
) -> None:
    """Position by position, in a run of other tokens: each component holds what plain Hugging Face has in that one."""
    from livelens.protocol.messages import Component
    from livelens.protocol.messages import Reference as ValuesFrom

    engine, other = tiny("llama"), IDS[::-1]
    components = [Component("head", 1, 2), Component("neuron", 0, 7), Component("mlp", 2)]
    spec = InterventionSpec("m", "mean", components, reference=ValuesFrom("prompt", pooled=False))
    masks = masks_from([spec], engine.info, RunResources(engine, other, Surroundings(directions={})))
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=N_PROMPT,
        n_positions=len(IDS),
        segments=(ContextSegment(from_pos=0, revision=0, masks=masks),),
    )
    values = engine.values_of(context, [("z", 1), ("neurons", 0), ("mlp_out", 2)])
    seen, own = (forward_by_hand(tiny_reference("llama"), ids, {}) for ids in (other, IDS))
    d_head = engine.info.d_head
    head, neuron, whole = slice(2 * d_head, 3 * d_head), slice(7, 8), slice(None)
    for place, columns, expected, plain in (
        (("z", 1), head, seen.z[1], own.z[1]),
        (("neurons", 0), neuron, seen.neurons[0], own.neurons[0]),
        (("mlp_out", 2), whole, seen.mlp[2], own.mlp[2]),
    ):
        close(values[place][:, columns], expected[:, columns], relative=1e-6, what=str(place))
        assert not torch.allclose(expected[:, columns], plain[:, columns], rtol=1e-3), "the prompts differ there"


def test_values_of_another_run_are_those_under_its_own_interventions(
    tiny: Engines, tiny_reference: References, tiny_world: Callable[[str], World], one_thread: None
) -> None:
    engine, reference, world = tiny("qwen3"), tiny_reference("qwen3"), tiny_world("qwen3")
    made = cases(world)
    first, second = made["zero head"], made["set neuron"]
    contexts = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=N_PROMPT,
        n_positions=len(IDS),
        segments=(
            ContextSegment(from_pos=0, revision=0, masks=masks_from([first.spec], engine.info)),
            ContextSegment(from_pos=6, revision=1, masks=masks_from([second.spec], engine.info)),
        ),
    )
    held = torch.arange(len(IDS)) >= 6
    seen = forward_by_hand(reference, IDS, hands_of([(first, ~held), (second, held)]))
    values = engine.values_of(contexts, [("z", 2), ("mlp_out", 1), ("neurons", 1), ("attn_out", 2)])
    for place, expected in (
        (("z", 2), seen.z[2]),
        (("mlp_out", 1), seen.mlp[1]),
        (("neurons", 1), seen.neurons[1]),
        (("attn_out", 2), seen.attn[2]),
    ):
        close(values[place], expected, relative=1e-5, what=str(place))
