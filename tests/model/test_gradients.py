"""Integrated gradients and gradient x input: complete, and those of a Riemann sum and of Captum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from tests.model.attributing import (
    DISTRACTOR,
    PROMPT,
    TARGET,
    Engines,
    attribute,
    frozen_of,
)
from tests.model.families import FAMILIES

from livelens.analysis import relevance
from livelens.analysis.relevance import gradient_x_input, integrated_gradients

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
def test_integrated_gradients_are_complete_and_say_by_how_much_not(tiny: Engines, family: str) -> None:
    model = frozen_of(tiny(family))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=DISTRACTOR, max_steps=256)
    change = found.metric - found.baseline_metric
    assert float(found.tokens.sum()) + found.error == pytest.approx(change, abs=1e-4)
    assert abs(found.error) <= 1e-4 * abs(change)
    assert 0 < found.placed <= 0.011 * abs(change)
    assert found.metric == pytest.approx(attribute(tiny(family)).metric, rel=1e-4)


def test_integrated_gradients_equal_a_fine_riemann_sum(tiny: Engines) -> None:
    """The definition, step by step, without the code's batches and adaptive pieces."""
    model = frozen_of(tiny("gpt2"))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=129, baseline="zero")
    direction, _ = model.direction(TARGET, None)
    positional = run.positional
    assert positional is not None
    tokens = run.stream.detach()[0] - positional
    total = torch.zeros(len(PROMPT))
    for step in range(400):
        leaf = (tokens * ((step + 0.5) / 400) + positional)[None].requires_grad_()
        (model.plain(lambda stream, leaf=leaf: leaf, PROMPT, run.edits, 1)[0][0, -1] @ direction).backward()
        assert leaf.grad is not None
        total += (leaf.grad[0] * tokens).sum(-1) / 400
    assert np.allclose(found.tokens, total, atol=2e-2 * float(total.abs().max()))


def test_integrated_gradients_are_captums(tiny: Engines) -> None:
    """Where the metric is smooth on the way and Captum's fixed points suffice: a tiny random model."""
    model = frozen_of(tiny("gpt2"))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=DISTRACTOR, max_steps=257, tolerance=1e-3)
    transformer, table = tiny("gpt2").model, tiny("gpt2").model.get_input_embeddings().weight.detach()

    def metric(embeddings: torch.Tensor) -> torch.Tensor:
        logits = transformer(inputs_embeds=embeddings, use_cache=False).logits[:, -1]
        return logits[:, TARGET] - logits[:, DISTRACTOR]

    embeddings = table[PROMPT][None]
    attributed, delta = CaptumIntegratedGradients(metric).attribute(
        embeddings,
        baselines=table.mean(0).expand_as(embeddings),
        n_steps=256,
        method="gausslegendre",
        internal_batch_size=32,
        return_convergence_delta=True,
    )
    change = found.metric - found.baseline_metric
    assert abs(float(delta)) < 1e-2 * abs(change)
    theirs = attributed.sum(-1)[0].detach().numpy()
    assert found.tokens == pytest.approx(theirs, abs=1e-2 * float(np.abs(theirs).max()))


def test_few_gradients_and_the_metric_between_them_come_nearer_than_the_gradients_alone(tiny: Engines) -> None:
    """What Simpson's rule misses, placed by the slopes: against ten times as many gradients."""
    model = frozen_of(tiny("llama"))
    run = model.run(PROMPT)
    fine = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=257, tolerance=1e-6)
    few = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=25, tolerance=1e-6)
    assert few.n_steps == 25 and fine.n_steps > 100
    assert few.placed > 10 * fine.placed
    assert abs(few.error) < 1e-4 * few.placed + 1e-6
    assert np.abs(few.tokens - fine.tokens).max() < few.placed


def test_a_jump_between_gradients_is_placed_along_its_slope() -> None:
    """Three points about a jump of 5 of which token 1 has four fifths: Simpson's rule has any size for it."""
    jump = torch.tensor([1.0, 4.0], dtype=torch.float64)
    points = [relevance._Point(x, metric, slope * jump) for x, metric, slope in ((0, 0, 0), (0.5, 2, 90), (1, 5, 0))]
    piece = relevance._Piece(*points)
    assert float(piece.simpson().sum()) == pytest.approx(300)
    assert piece.integral().tolist() == pytest.approx([1.0, 4.0])
    still = relevance._Piece(*(relevance._Point(x, 7.0, 0 * jump) for x in (0, 0.5, 1)))
    assert still.integral().tolist() == [0.0, 0.0]


def test_gradient_x_input_is_the_plain_gradient(tiny: Engines) -> None:
    engine = tiny("qwen2")
    model = frozen_of(engine)
    found = gradient_x_input(model, model.run(PROMPT), target_id=TARGET, distractor_id=DISTRACTOR)
    embeddings = engine.model.get_input_embeddings()(torch.tensor([PROMPT])).detach().requires_grad_()
    logits = engine.model(inputs_embeds=embeddings, use_cache=False).logits[0, -1]
    (logits[TARGET] - logits[DISTRACTOR]).backward()
    assert embeddings.grad is not None
    assert np.allclose(found, (embeddings.grad * embeddings).sum(-1)[0].detach(), rtol=1e-3, atol=1e-5)
