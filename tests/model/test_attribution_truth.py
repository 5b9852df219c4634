"""Attribution against others: TransformerLens's direct logit attribution, and figures seen on the shipped model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.model.attributing import (
    DISTRACTOR,
    LAST,
    PROMPT,
    TARGET,
    assert_conserved,
    assert_incoming,
    assert_outgoing,
    attribute,
)
from tests.model.families import N_HEADS, N_LAYERS

from livelens.analysis.attribution import Attribution
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import Node, parse_node
from livelens.analysis.paths import strongest_paths
from livelens.model.frozen import FrozenModel
from livelens.model.torch_engine import TorchEngine

MARY = "When Mary and John went to the store, John gave a drink to"
PARIS = "The Eiffel Tower is in the city of"
Shipped = Callable[[str, str, str], Attribution]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "qwen2", "qwen3"])
def test_direct_effects_are_those_of_transformer_lens_in_compatibility_mode(
    tiny: Callable[[str], TorchEngine], tiny_folder: Callable[[str], Path], family: str
) -> None:
    """Norms folded and weights centred on their side, nothing changed on ours.

    Value biases stay in the heads that write them; Gemma-2's post norms are no part of their decomposition.
    """
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import direct_logit_attribution

    bridge = TransformerBridge.boot_transformers(str(tiny_folder(family)), device="cpu")
    bridge.enable_compatibility_mode(fold_value_biases=False)
    theirs = direct_logit_attribution(
        bridge, torch.tensor([PROMPT]), answer_tokens=TARGET, incorrect_tokens=DISTRACTOR, unit="head"
    )
    named = dict(zip(theirs.labels, theirs.attribution.flatten().tolist(), strict=True))
    ours = Edges(attribute(tiny(family))).incoming(Node(kind="logit", pos=LAST)).edges.heads[:, LAST]
    expected = np.array([[named[f"L{layer}H{head}"] for head in range(N_HEADS)] for layer in range(N_LAYERS)])
    assert np.allclose(ours, expected, atol=1e-4), np.abs(ours - expected).max()
    assert np.abs(expected).max() > 1e-2


@pytest.fixture(scope="module")
def shipped_attribution(shipped: TorchEngine) -> Shipped:
    """`shipped_attribution(prompt, target, distractor)` on the shipped model."""
    made: dict[tuple[str, str, str], Attribution] = {}

    def of(prompt: str, target: str, distractor: str) -> Attribution:
        key = (prompt, target, distractor)
        if key not in made:
            model = FrozenModel(shipped.model, shipped.anatomy)
            run = model.run(shipped.tokenize(prompt, apply_chat_template=False))
            made[key] = Attribution(
                model, run, target_id=shipped.token_ids(target)[0], distractor_id=shipped.token_ids(distractor)[0]
            )
        return made[key]

    return of


def test_mary_and_john_is_explained_as_it_was_by_hand(shipped_attribution: Shipped) -> None:
    found = shipped_attribution(MARY, " Mary", " John").relevance()
    assert found.metric == pytest.approx(6.1196, abs=1e-3)
    assert float(found.embed.sum()) == pytest.approx(6.1196, abs=1e-3)
    assert float(found.embed[1]) == pytest.approx(4.00, abs=0.01)
    heads = found.heads.sum(1)
    strongest = [
        (int(k) // 9, int(k) % 9, round(float(heads.flat[k]), 2)) for k in np.argsort(-np.abs(heads), None)[:5]
    ]
    assert strongest == [(23, 3, 2.94), (29, 1, 1.76), (24, 4, -1.56), (23, 0, 1.41), (29, 0, -1.26)]
    assert not found.biases


def test_paris_and_rome_is_explained_as_it_was_by_hand(shipped_attribution: Shipped) -> None:
    found = shipped_attribution(PARIS, " Paris", " Rome").relevance()
    assert found.metric == pytest.approx(2.8569, abs=1e-3)
    assert_conserved(found.metric - float(found.embed.sum()), found.metric)


def test_edges_of_the_shipped_model_are_conserved(shipped_attribution: Shipped) -> None:
    edges = Edges(shipped_attribution(MARY, " Mary", " John"))
    last = edges.attribution.pos
    assert_incoming(edges.incoming(parse_node(f"logit@{last}")))
    for name in (f"L23H3@{last}", f"L17H3@{9}", "L0H0@1", f"L12.mlp@{last}", f"L29N573@{last}", f"L28.attn@{last}"):
        node = parse_node(name)
        into = edges.incoming(node)
        assert_incoming(into)
        assert sum(abs(value) for value in into.biases.values()) == 0.0
        assert_outgoing(edges.outgoing(node))
    for part in ("query", "key"):
        assert_incoming(edges.incoming(parse_node(f"L23H3@{last}"), part=part))


def test_the_strongest_way_to_mary_is_a_head_that_moves_a_name(shipped_attribution: Shipped) -> None:
    edges = Edges(shipped_attribution(MARY, " Mary", " John"))
    graph = strongest_paths(edges, threshold=0.05, n_paths=4)
    assert graph.tokens + graph.biases + graph.hidden == pytest.approx(graph.metric, abs=1e-4)
    assert graph.biases == pytest.approx(0.0, abs=1e-6)
    assert graph.paths[0].nodes[-2:] == ("L23H3@13", "logit@13")
    assert graph.paths[0].weight > 0.1 * graph.metric
