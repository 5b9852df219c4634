"""Directions equal what is computed from the plain model by hand; saved ones come back with what made them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.integration.serving import serving
from tests.model.families import FAMILIES
from tests.model.hand_hooks import forward_by_hand
from tests.model.reference import Reference

from livelens.analysis.directions import held_out, principal_axis
from livelens.client.directions import load_direction, project_out, save_direction, steer
from livelens.client.errors import LivelensError
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment
from livelens.model.interventions import masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    Component,
    DirectionReady,
    DirectionRecipe,
    InterventionSegment,
    InterventionSpec,
    RequestDirection,
    Sampling,
    StreamPlace,
)
from livelens.protocol.tensors import reconstruct
from livelens.run.resources import RunResources, Surroundings

Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]
IDS = [5, 17, 101, 9, 17, 44, 300, 5, 88, 17]


def made(engine: TorchEngine, recipe: DirectionRecipe, *specs: InterventionSpec) -> DirectionReady:
    masks = masks_from(specs, engine.info) if specs else None
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=len(IDS),
        n_positions=len(IDS),
        segments=(ContextSegment(from_pos=0, revision=0, masks=masks),),
    )
    *_, answer = engine.analyse(RequestDirection(request_id=1, run_id="r", recipe=recipe), context)
    assert isinstance(answer, DirectionReady)
    return answer


def vector_of(answer: DirectionReady) -> torch.Tensor:
    return torch.from_numpy(reconstruct(answer.vector).astype(np.float64))


def same_way(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return float(torch.nn.functional.cosine_similarity(ours, theirs.double(), dim=0)) > 1 - 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_what_heads_neurons_tokens_and_axes_give(
    tiny: Engines, tiny_reference: References, family: str, one_thread: None
) -> None:
    """The head's under the run's own interventions."""
    engine, reference = tiny(family), tiny_reference(family)
    zero = InterventionSpec("z", "zero", [Component("mlp", 0)])
    seen = forward_by_hand(reference, IDS, {("mlp", 0): torch.zeros_like})
    block = reference.blocks[1]
    gains = [
        1.0 if name is None else (getattr(block, name).weight.detach() + 1.0)
        for name in (reference._post_attn, reference._post_mlp)
    ]
    write = reference.head_writes(seen, 6)[1, 2] * gains[0]
    head = made(engine, DirectionRecipe(kind="head", layer=1, index=2, pos=6), zero)
    assert same_way(vector_of(head), write) and head.direction.layer == 1
    mean = torch.stack([reference.head_writes(seen, pos)[1, 2] for pos in range(len(IDS))]).mean(0) * gains[0]
    assert same_way(vector_of(made(engine, DirectionRecipe(kind="head", layer=1, index=2), zero)), mean)
    w_out = reference.w_in_out(getattr(getattr(block, reference._mlp), reference._w_out))
    neuron = made(engine, DirectionRecipe(kind="neuron", layer=1, index=9))
    assert same_way(vector_of(neuron), w_out[9].detach() * gains[1])
    token = made(engine, DirectionRecipe(kind="unembed", token=88))
    assert torch.allclose(vector_of(token), reference.model.lm_head.weight[88].detach().double())
    stream = seen.resid[2][1:].double()
    values, axes = np.linalg.eigh(np.cov(stream.numpy().T))
    for index in (0, 2):
        axis = vector_of(made(engine, DirectionRecipe(kind="pca", layer=1, index=index), zero))
        expected = torch.from_numpy(axes[:, -1 - index])
        assert same_way(axis, expected) or same_way(axis, -expected)
        assert float(axis.norm()) == pytest.approx(float(values[-1 - index]) ** 0.5, rel=1e-4)


def test_a_contrast_is_the_difference_of_means_at_the_layer_that_separates_best(
    tiny: Engines, tiny_reference: References, one_thread: None
) -> None:
    engine, reference = tiny("gpt2"), tiny_reference("gpt2")
    positive, negative = ["a b", "b", "c a"], ["9?", "!4"]
    fitting = [[engine.tokenize(text, apply_chat_template=False) for text in side] for side in (positive, negative)]
    assert all(token_id < engine.info.d_vocab for side in fitting for ids in side for token_id in ids)
    last = [
        torch.stack([torch.stack([s[-1] for s in forward_by_hand(reference, ids, {}).resid[1:]]) for ids in side])
        for side in fitting
    ]
    answer = made(engine, DirectionRecipe(kind="contrast", positive=positive, negative=negative))
    separation = reconstruct(answer.separation)
    layer = int(separation.argmax())
    assert answer.direction.layer == layer
    expected = last[0][:, layer].mean(0) - last[1][:, layer].mean(0)
    assert torch.allclose(vector_of(answer), expected.double(), atol=1e-5)
    fixed = made(engine, DirectionRecipe(kind="contrast", layer=0, positive=positive, negative=negative))
    assert torch.allclose(vector_of(fixed), (last[0][:, 0].mean(0) - last[1][:, 0].mean(0)).double(), atol=1e-5)


def test_held_out_prompts_tell_a_layer_that_separates_from_one_that_does_not() -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, 12, 2, 40, generator=generator, dtype=torch.float64)
    noise[0, :, 1] += 2.0
    separation, accuracy = held_out(noise[0], noise[1])
    assert accuracy[1] == 1 and accuracy[0] < 0.8
    assert separation[1] > 2 and separation[0] < 1


def test_there_are_no_more_axes_than_points() -> None:
    with pytest.raises(AnalysisRefusedError, match="no axis 3"):
        principal_axis(torch.eye(4, 9, dtype=torch.float64), 3)


def test_steering_over_the_wire_saved_and_loaded(shipped: TorchEngine, tmp_path: Path) -> None:
    """Made by the server from contrasting prompts; what it does, and that a file brings the same direction back."""
    gladly = ["I love this, it is wonderful", "What a great day, I am so happy", "This is the best news ever"]
    sadly = ["I hate this, it is terrible", "What an awful day, I am so sad", "This is the worst news ever"]

    async def story() -> None:
        async with serving(shipped) as served, served.client() as client:
            sampling = Sampling(max_new_tokens=6)
            run = await client.start_run("The film was", channels=["residual"], sampling=sampling)
            await run.finished()
            glad = await client.contrast(run, positive=gladly, negative=sadly)
            assert glad.separation is not None and glad.info.layer == int(glad.separation.argmax())
            save_direction(tmp_path / "glad.safetensors", glad, model_info=client.model_info)
            saved = load_direction(tmp_path / "glad.safetensors")
            assert saved.recipe == glad.info.recipe and saved.weights_sha256 == client.model_info.weights_sha256
            again = await client.put_saved(saved)
            assert again.info.direction_id == glad.info.direction_id
            texts = {}
            for amount in (-3.0, 3.0):
                log = [InterventionSegment(0, [steer(again, amount=amount)])]
                steered = await client.start_run("The film was", channels=[], sampling=sampling, intervention_log=log)
                await steered.finished()
                texts[amount] = steered.text
            assert texts[-3.0] != texts[3.0] and run.text not in texts.values()
            without = [InterventionSegment(0, [project_out(glad, layers=range(30))])]
            flat = await client.start_run("The film was", channels=["residual"], intervention_log=without)
            await flat.finished()
            assert flat.token_ids[: flat.n_prompt_tokens] == run.token_ids[: run.n_prompt_tokens]
            assert flat.tokens[1].logprob != run.tokens[1].logprob  # what the direction did for it is taken out
            with pytest.raises(LivelensError, match="NaN"):
                await client.put_direction(glad.vector * np.float32(np.nan), name="broken")

    asyncio.run(story())


def test_on_the_shipped_model_nothing_is_left_after_any_layer(shipped: TorchEngine) -> None:
    """h . d = 0 at every position and after every layer, of a direction that the stream is full of."""
    ids = shipped.tokenize("The film was wonderful, and we all", apply_chat_template=False)
    captured = shipped.open_sequence().forward(ids, masks=None, channels=frozenset(("residual",)))
    clean = captured._tensors.sites["resid"]
    direction = clean[20][0, -1] - clean[20][0, -3]
    layers = range(shipped.info.n_layers)
    spec = InterventionSpec("p", "project_out", [], direction_id="d", stream=[StreamPlace(layer) for layer in layers])
    resources = RunResources(shipped, ids, Surroundings(directions={"d": direction.numpy()}))
    masks = masks_from([spec], shipped.info, resources)
    under = shipped.open_sequence().forward(ids, masks=masks, channels=frozenset(("residual",)))
    unit = direction / direction.norm()
    for layer in layers:
        before, after = (tensors[layer + 1][0] for tensors in (clean, under._tensors.sites["resid"]))
        assert float((after @ unit).abs().max()) <= 1e-5 * float(after.norm(dim=-1).max()), f"after layer {layer}"
        assert float((before @ unit).abs().max()) > 1e-3 * float(before.norm(dim=-1).max()), "it was not there before"


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("not a direction")
    with pytest.raises(LivelensError, match="holds no direction"):
        load_direction(path)
