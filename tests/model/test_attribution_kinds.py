"""Attribution on models beyond the proven families: right, or refused in words; never quietly wrong."""

from __future__ import annotations

import pytest
import torch
from tests.model.attributing import (
    DISTRACTOR,
    LAST,
    PROMPT,
    TARGET,
    assert_conserved,
    assert_incoming,
    assert_outgoing,
)
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma3TextConfig,
    GPTJConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from livelens.analysis.attribution import Attribution
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node
from livelens.model import attention
from livelens.model.anatomy import read_anatomy
from livelens.model.frozen import FrozenModel

pytestmark = pytest.mark.usefixtures("one_thread")

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 600,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def _frozen(config: PretrainedConfig, *, dtype: torch.dtype = torch.float32) -> FrozenModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval().requires_grad_(False)
    attention.use(model)
    return FrozenModel(model, read_anatomy(model))


def _attribute(model: FrozenModel) -> Attribution:
    return Attribution(model, model.run(PROMPT), target_id=TARGET, distractor_id=DISTRACTOR)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(PhiConfig(**_SIZES), id="one norm for attention and MLP side by side"),
        pytest.param(Phi3Config(**_SIZES, num_key_value_heads=2), id="gate and up in one matrix"),
        pytest.param(Olmo2Config(**_SIZES), id="norms after, none before; query norm over all heads"),
        pytest.param(Gemma3TextConfig(**_SIZES, head_dim=8, num_key_value_heads=2), id="norms everywhere"),
        pytest.param(MistralConfig(**_SIZES, num_key_value_heads=2), id="no biases"),
    ],
)
def test_other_kinds_of_layers_are_conserved_too(config: PretrainedConfig) -> None:
    attribution = _attribute(_frozen(config))
    relevance = attribution.relevance()
    assert_conserved(relevance.error, relevance.metric, relevance.embed, relevance.bias)
    edges = Edges(attribution)
    nodes = (Node(kind="head", layer=2, index=1, pos=LAST), Node(kind="mlp", layer=1, pos=4))
    for node in (Node(kind="logit", pos=LAST), *nodes):
        assert_incoming(edges.incoming(node))
    for node in (Node(kind="embed", pos=3), *nodes):
        assert_outgoing(edges.outgoing(node))
    for part in ("query", "key"):
        assert_incoming(edges.incoming(nodes[0], part=part))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CohereConfig(**_SIZES), "CohereLayerNorm"),
        (GraniteConfig(**_SIZES, residual_multiplier=0.5), "not the sum"),
        (
            GPTJConfig(n_embd=32, n_layer=3, n_head=4, n_inner=40, vocab_size=600, n_positions=128, rotary_dim=4),
            "patterns to itself",
        ),
    ],
    ids=["norm", "stream", "attention"],
)
def test_what_cannot_be_linearised_is_refused_in_words(config: PretrainedConfig, text: str) -> None:
    model = _frozen(config)
    with pytest.raises(AttributionError, match=text):
        model.run(PROMPT)
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())
    assert hooks == 0


def test_in_half_precision_the_error_is_its_rounding_and_is_told() -> None:
    attribution = _attribute(_frozen(LlamaConfig(**_SIZES, num_key_value_heads=2), dtype=torch.bfloat16))
    relevance = attribution.relevance()
    assert abs(relevance.error) <= 0.05 * abs(relevance.metric)
    found = Edges(attribution).incoming(Node(kind="head", layer=2, index=1, pos=LAST))
    assert abs(found.error) <= 0.05 * abs(found.value)
