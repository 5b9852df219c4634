"""What an intervention says is checked when it is decoded: one clear error each, and nothing else refused."""

from __future__ import annotations

import msgspec
import pytest

from livelens.protocol.codec import CodecError, decode_command
from livelens.protocol.messages import DirectionRecipe, InterventionSpec, SetInterventions

HEAD, NEURON, ATTN = (
    {"kind": "head", "layer": 1, "index": 2},
    {"kind": "neuron", "layer": 1, "index": 7},
    {
        "kind": "attn",
        "layer": 1,
    },
)
TEXT = {"source": "text", "texts": ["some words"]}


def decoded(spec: dict[str, object]) -> InterventionSpec:
    command = {
        "type": "set_interventions",
        "request_id": 1,
        "run_id": "r",
        "interventions": [{"intervention_id": "mine", "components": [], **spec}],
    }
    decoded_command = decode_command(msgspec.msgpack.encode(command))
    assert isinstance(decoded_command, SetInterventions)
    return decoded_command.interventions[0]


GOOD = {
    "a factor, as every viewer sent it so far": {"operation": "scale", "components": [HEAD], "amount": 2.0},
    "a range": {"operation": "zero", "components": [HEAD], "positions": {"scope": "range", "from_pos": 3, "to_pos": 4}},
    "tokens": {"operation": "zero", "components": [ATTN], "positions": {"scope": "tokens", "token_ids": [5]}},
    "a mean over this prompt": {"operation": "mean", "components": [HEAD, NEURON, ATTN], "reference": {}},
    "another run's value": {
        "operation": "resample",
        "components": [HEAD],
        "reference": {"source": "run", "run_id": "x"},
    },
    "a value": {"operation": "set", "components": [NEURON], "amount": 3.0},
    "a layer's vector": {"operation": "set", "components": [ATTN], "direction_id": "d", "amount": 1.0},
    "steering": {"operation": "add_direction", "stream": [{"layer": 3}], "direction_id": "d", "unit": "stream"},
    "projection": {
        "operation": "project_out",
        "stream": [{"layer": 3}, {"layer": 0, "hook": "resid_pre"}],
        "direction_id": "d",
    },
    "a knock-out": {"operation": "attention_knockout", "components": [HEAD], "attention": {"keys": [0]}},
    "a row": {"operation": "attention_set", "components": [HEAD], "attention": {"keys": [0, 4], "weights": [0.5, 1.0]}},
    "a turn": {"operation": "attention_turn", "components": [HEAD], "attention": {"keys": [0], "from_keys": [1, 2]}},
}

BAD = {
    "no component": ({"operation": "zero"}, "mine.*at least one"),
    "a place in the stream that nothing takes": (
        {"operation": "zero", "components": [HEAD], "stream": [{"layer": 0}]},
        "no places in `stream`",
    ),
    "steering a head": (
        {"operation": "add_direction", "components": [HEAD], "direction_id": "d", "stream": [{"layer": 0}]},
        "no components",
    ),
    "steering nowhere": ({"operation": "add_direction", "direction_id": "d"}, "name places in `stream`"),
    "steering with nothing": ({"operation": "add_direction", "stream": [{"layer": 0}]}, "needs a direction_id"),
    "a direction for zero": ({"operation": "zero", "components": [HEAD], "direction_id": "d"}, "takes no direction_id"),
    "mean of nothing": ({"operation": "mean", "components": [HEAD]}, "needs `reference`"),
    "a reference for zero": ({"operation": "zero", "components": [HEAD], "reference": TEXT}, "takes no `reference`"),
    "an empty reference": (
        {"operation": "mean", "components": [HEAD], "reference": {"source": "text", "texts": [" \n"]}},
        "empty",
    ),
    "no reference text": (
        {"operation": "mean", "components": [HEAD], "reference": {"source": "text"}},
        "needs texts",
    ),
    "a reference that is no text": (
        {"operation": "mean", "components": [HEAD], "reference": {"source": "text", "texts": ["PK\x03\x04\x00\x00"]}},
        "not text",
    ),
    "a run without its id": (
        {"operation": "resample", "components": [HEAD], "reference": {"source": "run"}},
        "needs a run_id",
    ),
    "resample from two texts": (
        {"operation": "resample", "components": [HEAD], "reference": {"source": "text", "texts": ["a", "b"]}},
        "takes one text",
    ),
    "mean at one position": (
        {"operation": "mean", "components": [HEAD], "reference": {"pos": 3}},
        "only resample",
    ),
    "one number for a head": ({"operation": "set", "components": [HEAD], "amount": 1.0}, "use mean, resample or scale"),
    "one number for a layer": ({"operation": "set", "components": [ATTN], "amount": 1.0}, "every entry"),
    "neurons and layers at once": (
        {"operation": "set", "components": [NEURON, ATTN], "direction_id": "d"},
        "not both",
    ),
    "an amount that is no number": ({"operation": "scale", "components": [HEAD], "amount": float("nan")}, "amount"),
    "a row without keys": (
        {"operation": "attention_set", "components": [HEAD], "attention": {"keys": []}},
        "length",
    ),
    "a negative weight": (
        {"operation": "attention_set", "components": [HEAD], "attention": {"keys": [0, 1], "weights": [2.0, -1.0]}},
        "negative",
    ),
    "a row that sums to zero": (
        {"operation": "attention_set", "components": [HEAD], "attention": {"keys": [0, 1], "weights": [0.0, 0.0]}},
        "sum to zero",
    ),
    "a weight that is no number": (
        {"operation": "attention_set", "components": [HEAD], "attention": {"keys": [0], "weights": [float("inf")]}},
        "finite",
    ),
    "more weights than keys": (
        {"operation": "attention_set", "components": [HEAD], "attention": {"keys": [0], "weights": [1.0, 2.0]}},
        "as many weights",
    ),
    "a rest below zero": (
        {
            "operation": "attention_set",
            "components": [HEAD],
            "attention": {"keys": [0], "weights": [1.5], "rest": "scaled"},
        },
        "more than one",
    ),
    "a key twice": (
        {"operation": "attention_knockout", "components": [HEAD], "attention": {"keys": [3, 3]}},
        "twice",
    ),
    "weight moved onto itself": (
        {"operation": "attention_turn", "components": [HEAD], "attention": {"keys": [3], "from_keys": [3]}},
        "share a position",
    ),
    "a row of a neuron": (
        {"operation": "attention_set", "components": [NEURON], "attention": {"keys": [3]}},
        "acts on heads",
    ),
    "weights of a knock-out": (
        {"operation": "attention_knockout", "components": [HEAD], "attention": {"keys": [3], "weights": [1.0]}},
        "takes no weights",
    ),
    "an empty range": (
        {"operation": "zero", "components": [HEAD], "positions": {"scope": "range", "from_pos": 4, "to_pos": 4}},
        "holds no position",
    ),
    "a range that is none": (
        {"operation": "zero", "components": [HEAD], "positions": {"scope": "all", "from_pos": 4}},
        "only `range`",
    ),
    "no tokens": ({"operation": "zero", "components": [HEAD], "positions": {"scope": "tokens"}}, "at least one"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_done_is_taken(name: str) -> None:
    assert decoded(GOOD[name]).intervention_id == "mine"


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_done_is_refused_in_words(name: str) -> None:
    spec, reason = BAD[name]
    with pytest.raises(CodecError, match=reason) as refusal:
        decoded(spec)
    assert refusal.value.code == "bad_command"


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"kind": "contrast", "positive": ["a", "b"], "negative": ["c"]}, "at least two"),
        ({"kind": "neuron", "index": 3}, "needs a layer"),
        ({"kind": "unembed"}, "needs a token"),
        ({"kind": "pca", "layer": 2, "token": 5}, "no other kind takes one"),
        ({"kind": "head", "layer": 2, "positive": ["a"]}, "takes no prompts"),
    ],
)
def test_a_recipe_that_makes_nothing_is_refused(recipe: dict[str, object], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert(recipe, DirectionRecipe)
