"""The Python client's pure parts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec import Struct

from livelens.client import LivelensError, ablate, connect
from livelens.client.answers import (
    Attention,
    Effects,
    HeadProfile,
    NeuronProfile,
    Overview,
    Patching,
    TokenRelevance,
    Values,
    with_arrays,
)
from livelens.client.comparison import Comparison
from livelens.client.lenses import AttentionEntropy, HeadLens, Lens, StreamPca
from livelens.protocol.messages import (
    AttentionEntropyReady,
    AttentionReady,
    ComparisonReady,
    EffectsReady,
    HeadLensReady,
    HeadProfileReady,
    LensReady,
    NeuronProfileReady,
    OverviewReady,
    PatchingReady,
    RelevanceReady,
    StreamPcaReady,
    ValuesReady,
)
from livelens.protocol.tensors import encode_tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def test_an_address_gives_up_its_token() -> None:
    client = connect("http://127.0.0.1:8765/x/?token=abc")
    assert (client._connection.address, client._connection.token) == ("ws://127.0.0.1:8765/x/ws", "abc")
    client = connect("https://host", token="t")
    assert (client._connection.address, client._connection.token) == ("wss://host/ws", "t")


def test_another_scheme_is_refused() -> None:
    with pytest.raises(LivelensError) as refusal:
        connect("ftp://host/")
    assert refusal.value.code == "bad_url"


def test_ablate_reads_component_ids() -> None:
    spec = ablate("L1H2", "L3.mlp")
    assert spec.operation == "zero"
    assert [(c.kind, c.layer, c.index) for c in spec.components] == [("head", 1, 2), ("mlp", 3, 0)]
    assert ablate("L1N2", amount=2).operation == "scale"
    with pytest.raises(ValueError, match="names no component"):
        ablate("H1")


async def test_nobody_there_is_a_clear_error() -> None:
    with pytest.raises(LivelensError) as refusal:
        async with connect("http://127.0.0.1:1/"):
            pass
    assert refusal.value.code == "cannot_connect"


@pytest.mark.parametrize(
    ("wire", "held"),
    [
        (AttentionEntropyReady, AttentionEntropy),
        (AttentionReady, Attention),
        (ComparisonReady, Comparison),
        (EffectsReady, Effects),
        (HeadLensReady, HeadLens),
        (HeadProfileReady, HeadProfile),
        (LensReady, Lens),
        (NeuronProfileReady, NeuronProfile),
        (OverviewReady, Overview),
        (PatchingReady, Patching),
        (RelevanceReady, TokenRelevance),
        (StreamPcaReady, StreamPca),
        (ValuesReady, Values),
    ],
    ids=lambda kind: kind.__name__,
)
def test_nothing_that_the_server_says_is_lost(wire: type[Struct], held: type[DataclassInstance]) -> None:
    """But what names the question, which the caller has at hand."""
    asked = {"request_id", "run_id", "scope", "ablation", "everywhere", "without_interventions"}
    if wire is AttentionReady:
        asked |= {"layer", "head_index", "query_pos"}
    assert {field.name for field in fields(held)} == set(wire.__struct_fields__) - asked


def test_tensors_come_as_arrays_of_their_kind() -> None:
    pattern, keys = np.array([[0.5, 0.25]], np.float16), np.array([[3, 70_000]], np.uint32)
    answer = AttentionEntropyReady(
        request_id=1,
        run_id="run",
        pos=4,
        entropy=encode_tensor(pattern),
        top_key=encode_tensor(keys),
        top_weight=encode_tensor(pattern),
    )
    found = with_arrays(answer, AttentionEntropy)
    assert (found.pos, found.entropy.dtype, found.top_key.dtype) == (4, np.float32, np.int32)
    np.testing.assert_array_equal(found.entropy, pattern)
    np.testing.assert_array_equal(found.top_key, keys)
