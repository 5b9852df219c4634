"""What makes attribution of long runs bearable changes none of its numbers: small gradients, stops, second tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch
from tests.model.attributing import DISTRACTOR, LAST, PROMPT, SEGMENTS, TARGET, attribute, frozen_of
from tests.model.families import FAMILIES, N_LAYERS

from livelens.analysis.attribution import Attribution
from livelens.analysis.edge_types import StreamGradient
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import parse_node
from livelens.analysis.pacing import Pacing
from livelens.analysis.paths import strongest_paths
from livelens.analysis.relevance import integrated_gradients
from livelens.model.frozen import FrozenModel, FrozenRun, MaskSegment
from livelens.model.torch_engine import TorchEngine

pytestmark = pytest.mark.usefixtures("one_thread")
Engines = Callable[[str], TorchEngine]


def _hooks_of(engine: TorchEngine) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in engine.model.modules())


def _plain(engine: TorchEngine) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = engine.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits
    return found


def _explained(model: FrozenModel, segments: tuple[MaskSegment, ...], pacing: Pacing | None) -> Attribution:
    run = model.run(PROMPT, segments, pacing=pacing)
    return Attribution(model, run, target_id=TARGET, distractor_id=DISTRACTOR, pacing=pacing)


def _tensors(found: Attribution) -> list[torch.Tensor]:
    run: FrozenRun = found.run
    made = [run.normed, run.stream, found.stream_gradient]
    for index, layer in enumerate(run.layers):
        made += [layer.z, layer.neurons, layer.attn_out, layer.mlp_out, layer.attention.pattern]
        made += [found.z_gradient(index), found.neuron_gradient(index), found.mlp_out_gradient(index)]
    return made


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("segments", [(), SEGMENTS], ids=["clean", "edited"])
def test_another_forward_at_every_stop_disturbs_nothing_and_is_not_disturbed(
    tiny: Engines, family: str, segments: tuple[MaskSegment, ...]
) -> None:
    engine = tiny(family)
    model, expected, hooks = frozen_of(engine), _plain(engine), _hooks_of(engine)
    seen: list[tuple[int, torch.Tensor]] = []

    def other() -> None:
        thread = Thread(target=lambda: seen.append((_hooks_of(engine), _plain(engine))))
        thread.start()
        thread.join()

    stopped = _explained(model, segments, Pacing(other, piece_secs=0.0))
    assert len(seen) == (N_LAYERS - 1) + N_LAYERS
    for hooks_then, logits in seen:
        assert hooks_then == hooks
        assert torch.equal(logits, expected)
    straight = _explained(model, segments, None)
    for ours, theirs in zip(_tensors(stopped), _tensors(straight), strict=True):
        assert torch.equal(ours, theirs)
    assert _hooks_of(engine) == hooks


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("segments", [(), SEGMENTS], ids=["clean", "edited"])
def test_nor_at_the_stops_of_integrated_gradients_and_of_what_a_node_fed(
    tiny: Engines, family: str, segments: tuple[MaskSegment, ...]
) -> None:
    engine = tiny(family)
    model, expected, hooks = frozen_of(engine), _plain(engine), _hooks_of(engine)
    run = model.run(PROMPT, segments)
    seen: list[tuple[int, torch.Tensor]] = []

    def other() -> None:
        thread = Thread(target=lambda: seen.append((_hooks_of(engine), _plain(engine))))
        thread.start()
        thread.join()

    ids = {"target_id": TARGET, "distractor_id": DISTRACTOR, "max_steps": 11, "tolerance": 0.0}
    stopped = integrated_gradients(model, run, **ids, pacing=Pacing(other, piece_secs=0.0))
    n_batches = 2  # nine gradients, then two
    assert len(seen) == n_batches * (N_LAYERS - 1 + N_LAYERS)
    writer, edges = parse_node("embed@3"), Edges(_explained(model, segments, None))
    fed = edges.outgoing(writer, pacing=Pacing(other, piece_secs=0.0))
    assert len(seen) == n_batches * (N_LAYERS - 1 + N_LAYERS) + 2 * N_LAYERS
    assert all(hooks_then == hooks and torch.equal(logits, expected) for hooks_then, logits in seen)
    straight = integrated_gradients(model, run, **ids)
    assert np.array_equal(stopped.tokens, straight.tokens) and stopped.n_steps == straight.n_steps == 11
    assert fed.neurons == edges.outgoing(writer).neurons
    assert _hooks_of(engine) == hooks


@pytest.mark.parametrize("n_stops", [1, N_LAYERS])
def test_work_given_up_at_a_stop_leaves_no_hook_behind(tiny: Engines, n_stops: int) -> None:
    engine = tiny("llama")
    model, hooks, stops = frozen_of(engine), _hooks_of(engine), 0

    class GivenUpError(BaseException):
        pass

    def give_up() -> None:
        nonlocal stops
        stops += 1
        if stops == n_stops:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        _explained(model, (), Pacing(give_up, piece_secs=0.0))
    assert _hooks_of(engine) == hooks
    assert _explained(model, (), None).metric == pytest.approx(attribute(engine).metric, abs=0)


def test_stops_come_no_closer_than_asked(tiny: Engines) -> None:
    stops: list[None] = []
    _explained(frozen_of(tiny("llama")), (), Pacing(lambda: stops.append(None), piece_secs=3600.0))
    assert not stops


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("segments", [(), SEGMENTS], ids=["clean", "edited"])
def test_edges_along_a_small_gradient_are_those_along_all_of_it(
    tiny: Engines, family: str, segments: tuple[MaskSegment, ...]
) -> None:
    edges = Edges(attribute(tiny(family), segments=segments))
    for name in (f"logit@{LAST}", f"L2H1@{LAST}", "L1H2@5", f"L2.mlp@{LAST}", "L1N7@6"):
        pull = edges.pull(parse_node(name))
        assert pull.gradient.amounts is not None, f"{name} is not of rank one"
        whole = replace(pull, gradient=StreamGradient(amounts=None, rows=pull.gradient.dense()))
        small, large = edges.writers.along(pull, n_neurons=5), edges.writers.along(whole, n_neurons=5)
        for ours, theirs in ((small.heads, large.heads), (small.mlps, large.mlps), (small.embed, large.embed)):
            assert np.abs(ours - theirs).max() <= 1e-5 * max(1e-3, float(np.abs(theirs).max())), name
        assert np.abs(small.heads).max() > 0.0
        assert [entry.node for entry in small.neurons] == [entry.node for entry in large.neurons]
        expected = [entry.value for entry in large.neurons]
        assert [entry.value for entry in small.neurons] == pytest.approx(expected, rel=1e-4)


def test_a_gradient_that_is_not_of_rank_one_is_kept_whole() -> None:
    dense = torch.tensor([[1.0, 0.0], [0.0, 1e-3]])
    found = StreamGradient.of(dense, None)
    assert found.amounts is None
    assert torch.equal(found.dense(), dense)
    assert torch.equal(StreamGradient.of(torch.zeros(3, 2), None).dense(), torch.zeros(3, 2))
    one = StreamGradient.of(torch.tensor([[0.0, 0.0], [2.0, -4.0], [1.0, -2.0]]), None)
    assert one.amounts is not None
    assert torch.equal(one.row(2), torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma2"])
def test_a_graph_found_by_raising_the_threshold_is_the_one_found_at_that_threshold(tiny: Engines, family: str) -> None:
    edges = Edges(attribute(tiny(family)))
    tried = strongest_paths(edges, threshold=0.001, max_nodes=12, n_paths=0)
    assert tried.threshold > 0.001
    drawn = [entry for entry in tried.nodes if entry.node.kind not in ("embed", "pos_embed")]
    assert 2 <= len(drawn) <= 12
    assert strongest_paths(Edges(edges.attribution), threshold=tried.threshold, max_nodes=12, n_paths=0) == tried
    # One step lower there are too many, whatever bound is given up at early.
    more = strongest_paths(edges, threshold=tried.threshold / 1.5, max_nodes=200, n_paths=0)
    inner = [entry for entry in more.nodes if entry.node.kind not in ("embed", "pos_embed")]
    assert more.threshold > tried.threshold / 1.49 or len(inner) > 12
